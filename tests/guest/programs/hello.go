// A Go program that starts goroutines, a process and looks at files.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
)

func main() {
	var wait sync.WaitGroup
	sums := make([]int, 16)
	for i := range sums {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			for k := 0; k < 100000; k++ {
				sums[i] += k % (i + 1)
			}
			if _, err := os.Stat("/etc/passwd"); err != nil {
				fmt.Println("stat:", err)
			}
		}(i)
	}
	wait.Wait()
	total := 0
	for _, n := range sums {
		total += n
	}
	fmt.Println("sum", total)
	out, err := exec.Command("/bin/echo", "child of go").Output()
	if err != nil {
		fmt.Println("exec:", err)
		os.Exit(1)
	}
	fmt.Print(string(out))
	self, _ := os.Readlink("/proc/self/exe")
	fmt.Println("exe", self)
	entries, err := os.ReadDir("/usr")
	if err != nil || len(entries) == 0 {
		fmt.Println("readdir:", err)
		os.Exit(1)
	}
	os.Exit(7)
}
