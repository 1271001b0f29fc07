#define _GNU_SOURCE
#include <stdio.h>
#include <unistd.h>
#include <stddef.h>
#include <errno.h>
#include <string.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sys/syscall.h>
#include <linux/seccomp.h>
#include <linux/filter.h>
#include <sched.h>
#include <signal.h>
static int st(pid_t p){int s;waitpid(p,&s,0);return s;}
#define CH(code) ({fflush(stdout);pid_t p=fork();if(!p){code;_exit(0);}st(p);})
int main(){
 printf("mode %d\n",prctl(PR_GET_SECCOMP));
 printf("probe %ld %s\n",syscall(SYS_seccomp,1,1,0),strerrorname_np(errno));
 struct sock_filter f[]={{0x20,0,0,0},{0x15,0,1,SYS_openat},{6,0,0,SECCOMP_RET_ERRNO|EPERM},{6,0,0,SECCOMP_RET_ALLOW}};
 struct sock_fprog pr={4,f};
 errno=0; printf("nonnp %d ",prctl(PR_SET_SECCOMP,2,&pr)); printf("%s\n",strerrorname_np(errno));
 int s=CH(prctl(PR_SET_SECCOMP,SECCOMP_MODE_STRICT);write(1,"in strict\n",10);syscall(SYS_exit,3)); printf("strict exit %x\n",s);
 s=CH(prctl(PR_SET_SECCOMP,SECCOMP_MODE_STRICT);syscall(SYS_getpid);syscall(SYS_exit,3)); printf("strict kill %x\n",s);
 s=CH(syscall(SYS_seccomp,0,0,0);open("/etc/passwd",0);syscall(SYS_exit,3)); printf("strict kill %x\n",s);
 s=CH(prctl(PR_SET_NO_NEW_PRIVS,1,0,0,0);printf("set %d\n",prctl(PR_SET_SECCOMP,2,&pr));printf("mode %d\n",prctl(PR_GET_SECCOMP)); int r=open("/etc/passwd",0);printf("open %d %s\n",r,strerrorname_np(errno));printf("acc %d\n",access("/etc/passwd",0)); printf("strict %d\n",prctl(PR_SET_SECCOMP,1));); printf("%x\n",s);
 struct sock_filter g[]={{0x20,0,0,0},{0x15,0,1,SYS_access},{6,0,0,SECCOMP_RET_TRAP},{6,0,0,SECCOMP_RET_ALLOW}};
 struct sock_fprog pg={4,g};
 s=CH(prctl(PR_SET_NO_NEW_PRIVS,1,0,0,0);printf("set %ld\n",syscall(SYS_seccomp,1,1,&pg));printf("st %d\n",open("/etc/passwd",0)); access("/",0);printf("not\n")); printf("trap %x\n",s);
 cpu_set_t c; sched_getaffinity(0,sizeof c,&c); printf("cpus %d\n",CPU_COUNT(&c));
}
