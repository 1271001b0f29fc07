// A Go program that starts goroutines, a process and looks at files; or, with an argument, does one of what `modes` says.
package main

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

var bad int64

func check(right bool) {
	if !right {
		atomic.AddInt64(&bad, 1)
	}
}

// One of each call that Go makes of names, on names that nobody else uses.
func calls(own string) {
	info, err := os.Stat("/etc/passwd")
	check(err == nil && info.Mode().IsRegular())
	_, err = os.Lstat("/nowhere")
	check(errors.Is(err, fs.ErrNotExist))
	target, err := os.Readlink("/bin")
	check(err == nil && target == "usr/bin")
	check(os.Mkdir(own, 0o700) == nil)
	file, err := os.Create(own + "/file")
	check(err == nil)
	_, err = file.WriteString(own)
	check(err == nil && file.Close() == nil)
	check(os.Rename(own+"/file", own+"/other") == nil)
	text, err := os.ReadFile(own + "/other")
	check(err == nil && string(text) == own)
	entries, err := os.ReadDir(own)
	check(err == nil && len(entries) == 1 && entries[0].Name() == "other")
	check(os.Remove(own+"/other") == nil && os.Remove(own) == nil)
}

// Only looks, so that stops would show.
func loop() {
	for i := 0; i < 3000; i++ {
		_, err := os.Stat("/etc/passwd")
		check(err == nil)
		_, err = os.Lstat("/nowhere")
		check(err != nil)
		file, err := os.Open("/etc/passwd")
		check(err == nil && file.Close() == nil)
	}
}

func walk() {
	count, sum := 0, crc32.NewIEEE()
	filepath.Walk("/usr/share", func(path string, info os.FileInfo, err error) error {
		check(err == nil)
		count++
		fmt.Fprintln(sum, path, info.Mode(), info.Size(), info.ModTime().Unix())
		return nil
	})
	fmt.Println(count > 1000, sum.Sum32())
}

// Each goroutine has a thread of its own, more than there are stacks in the stub.
func threads() {
	var wait sync.WaitGroup
	for i := 0; i < 100; i++ {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			runtime.LockOSThread()
			for k := 0; k < 8; k++ {
				calls(fmt.Sprintf("own%d.%d", i, k))
			}
		}(i)
	}
	wait.Wait()
}

// Threads, timers, the profiler, and a collector that looks at and moves stacks; goroutines that only compute are preempted.
func signals() {
	alarms := make(chan os.Signal, 1)
	signal.Notify(alarms, syscall.SIGALRM)
	type interval struct{ every, first syscall.Timeval }
	millisecond := interval{syscall.Timeval{Usec: 1000}, syscall.Timeval{Usec: 1000}}
	syscall.Syscall(syscall.SYS_SETITIMER, 0, uintptr(unsafe.Pointer(&millisecond)), 0)
	runtime.SetCPUProfileRate(1000)
	stop, got := int32(0), int64(0)
	go func() {
		for range alarms {
			atomic.AddInt64(&got, 1)
			_, err := os.Stat("/etc")
			check(err == nil)
		}
	}()
	go func() {
		for atomic.LoadInt32(&stop) == 0 {
			runtime.GC()
		}
	}()
	go func() {
		for sum := 0; atomic.LoadInt32(&stop) == 0; sum++ {
		}
	}()
	threads()
	atomic.StoreInt32(&stop, 1)
	fmt.Println(atomic.LoadInt64(&got) > 0)
}

func children() {
	var wait sync.WaitGroup
	for i := 0; i < 30; i++ {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			text := strconv.Itoa(i)
			for k := 0; k < 50; k++ {
				_, err := os.Stat("/etc/passwd")
				check(err == nil)
			}
			command := exec.Command("/bin/sh", "-c", "pwd; echo "+text)
			command.Dir = "/usr"
			out, err := command.Output()
			check(err == nil && string(out) == "/usr\n"+text+"\n")
		}(i)
	}
	wait.Wait()
}

func hello() {
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

func main() {
	modes := map[string]func(){"loop": loop, "walk": walk, "threads": threads, "signals": signals, "children": children}
	if len(os.Args) < 2 {
		hello()
	}
	runtime.GOMAXPROCS(8)
	modes[os.Args[1]]()
	fmt.Println("bad", bad)
}
