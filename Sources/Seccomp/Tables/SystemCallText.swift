// Written by generate.py; do not edit.

/// System calls in the order of their names: `NAME=NUMBER`, or the numbers on
/// x86_64, i386, aarch64, arm, riscv64, in hexadecimal.
let systemCallText: StaticString = """
  _llseek=,8c,,8c, _newselect=,8e,,8e, _sysctl=9c,95,,95, accept=2b,,ca,11d,ca \
  accept4=120,16c,f2,16e,f2 access=15,21,,21, acct=a3,33,59,33,59 add_key=f8,11e,d9,135,d9 \
  adjtimex=9f,7c,ab,7c,ab afs_syscall=b7,89,,, alarm=25,1b,,, arch_prctl=9e,180,,, \
  arm_fadvise64_64=,,,10e, bdflush=,86,,86, bind=31,169,c8,11a,c8 bpf=141,165,118,182,118 \
  break=,11,,, breakpoint=,,,f0001, brk=c,2d,d6,2d,d6 cacheflush=,,,f0002, cachestat=1c3 \
  capget=7d,b8,5a,b8,5a capset=7e,b9,5b,b9,5b chdir=50,c,31,c,31 chmod=5a,f,,f, chown=5c,b6,,b6, \
  chown32=,d4,,d4, chroot=a1,3d,33,3d,33 clock_adjtime=131,157,10a,174,10a \
  clock_adjtime64=,195,,195, clock_getres=e5,10a,72,108,72 clock_getres_time64=,196,,196, \
  clock_gettime=e4,109,71,107,71 clock_gettime64=,193,,193, clock_nanosleep=e6,10b,73,109,73 \
  clock_nanosleep_time64=,197,,197, clock_settime=e3,108,70,106,70 clock_settime64=,194,,194, \
  clone=38,78,dc,78,dc clone3=1b3 close=3,6,39,6,39 close_range=1b4 connect=2a,16a,cb,11b,cb \
  copy_file_range=146,179,11d,187,11d creat=55,8,,8, create_module=ae,7f,,, \
  delete_module=b0,81,6a,81,6a dup=20,29,17,29,17 dup2=21,3f,,3f, dup3=124,14a,18,166,18 \
  epoll_create=d5,fe,,fa, epoll_create1=123,149,14,165,14 epoll_ctl=e9,ff,15,fb,15 \
  epoll_ctl_old=d6,,,, epoll_pwait=119,13f,16,15a,16 epoll_pwait2=1b9 epoll_wait=e8,100,,fc, \
  epoll_wait_old=d7,,,, eventfd=11c,143,,15f, eventfd2=122,148,13,164,13 execve=3b,b,dd,b,dd \
  execveat=142,166,119,183,119 exit=3c,1,5d,1,5d exit_group=e7,fc,5e,f8,5e \
  faccessat=10d,133,30,14e,30 faccessat2=1b7 fadvise64=dd,fa,df,,df fadvise64_64=,110,,, \
  fallocate=11d,144,2f,160,2f fanotify_init=12c,152,106,16f,106 fanotify_mark=12d,153,107,170,107 \
  fchdir=51,85,32,85,32 fchmod=5b,5e,34,5e,34 fchmodat=10c,132,35,14d,35 fchmodat2=1c4 \
  fchown=5d,5f,37,5f,37 fchown32=,cf,,cf, fchownat=104,12a,36,145,36 fcntl=48,37,19,37,19 \
  fcntl64=,dd,,dd, fdatasync=4b,94,53,94,53 fgetxattr=c1,e7,a,e7,a file_getattr=1d4 \
  file_setattr=1d5 finit_module=139,15e,111,17b,111 flistxattr=c4,ea,d,ea,d flock=49,8f,20,8f,20 \
  fork=39,2,,2, fremovexattr=c7,ed,10,ed,10 fsconfig=1af fsetxattr=be,e4,7,e4,7 fsmount=1b0 \
  fsopen=1ae fspick=1b1 fstat=5,6c,50,6c,50 fstat64=,c5,,c5, fstatat64=,12c,,147, \
  fstatfs=8a,64,2c,64,2c fstatfs64=,10d,,10b, fsync=4a,76,52,76,52 ftime=,23,,, \
  ftruncate=4d,5d,2e,5d,2e ftruncate64=,c2,,c2, futex=ca,f0,62,f0,62 futex_requeue=1c8 \
  futex_time64=,1a6,,1a6, futex_wait=1c7 futex_waitv=1c1 futex_wake=1c6 futimesat=105,12b,,146, \
  get_kernel_syms=b1,82,,, get_mempolicy=ef,113,ec,140,ec get_robust_list=112,138,64,153,64 \
  get_thread_area=d3,f4,,, get_tls=,,,f0006, getcpu=135,13e,a8,159,a8 getcwd=4f,b7,11,b7,11 \
  getdents=4e,8d,,8d, getdents64=d9,dc,3d,d9,3d getegid=6c,32,b1,32,b1 getegid32=,ca,,ca, \
  geteuid=6b,31,af,31,af geteuid32=,c9,,c9, getgid=68,2f,b0,2f,b0 getgid32=,c8,,c8, \
  getgroups=73,50,9e,50,9e getgroups32=,cd,,cd, getitimer=24,69,66,69,66 \
  getpeername=34,170,cd,11f,cd getpgid=79,84,9b,84,9b getpgrp=6f,41,,41, getpid=27,14,ac,14,ac \
  getpmsg=b5,bc,,, getppid=6e,40,ad,40,ad getpriority=8c,60,8d,60,8d getrandom=13e,163,116,180,116 \
  getresgid=78,ab,96,ab,96 getresgid32=,d3,,d3, getresuid=76,a5,94,a5,94 getresuid32=,d1,,d1, \
  getrlimit=61,4c,a3,,a3 getrusage=62,4d,a5,4d,a5 getsid=7c,93,9c,93,9c \
  getsockname=33,16f,cc,11e,cc getsockopt=37,16d,d1,127,d1 gettid=ba,e0,b2,e0,b2 \
  gettimeofday=60,4e,a9,4e,a9 getuid=66,18,ae,18,ae getuid32=,c7,,c7, getxattr=bf,e5,8,e5,8 \
  getxattrat=1d0 gtty=,20,,, idle=,70,,, init_module=af,80,69,80,69 \
  inotify_add_watch=fe,124,1b,13d,1b inotify_init=fd,123,,13c, inotify_init1=126,14c,1a,168,1a \
  inotify_rm_watch=ff,125,1c,13e,1c io_cancel=d2,f9,3,f7,3 io_destroy=cf,f6,1,f4,1 \
  io_getevents=d0,f7,4,f5,4 io_pgetevents=14d,181,124,18f,124 io_pgetevents_time64=,1a0,,1a0, \
  io_setup=ce,f5,0,f3,0 io_submit=d1,f8,2,f6,2 io_uring_enter=1aa io_uring_register=1ab \
  io_uring_setup=1a9 ioctl=10,36,1d,36,1d ioperm=ad,65,,, iopl=ac,6e,,, \
  ioprio_get=fc,122,1f,13b,1f ioprio_set=fb,121,1e,13a,1e ipc=,75,,, kcmp=138,15d,110,17a,110 \
  kexec_file_load=140,,126,191,126 kexec_load=f6,11b,68,15b,68 keyctl=fa,120,db,137,db \
  kill=3e,25,81,25,81 landlock_add_rule=1bd landlock_create_ruleset=1bc landlock_restrict_self=1be \
  lchown=5e,10,,10, lchown32=,c6,,c6, lgetxattr=c0,e6,9,e6,9 link=56,9,,9, \
  linkat=109,12f,25,14a,25 listen=32,16b,c9,11c,c9 listmount=1ca listns=1d6 listxattr=c2,e8,b,e8,b \
  listxattrat=1d1 llistxattr=c3,e9,c,e9,c lock=,35,,, lookup_dcookie=d4,fd,12,f9,12 \
  lremovexattr=c6,ec,f,ec,f lseek=8,13,3e,13,3e lsetxattr=bd,e3,6,e3,6 lsm_get_self_attr=1cb \
  lsm_list_modules=1cd lsm_set_self_attr=1cc lstat=6,6b,,6b, lstat64=,c4,,c4, \
  madvise=1c,db,e9,dc,e9 map_shadow_stack=1c5 mbind=ed,112,eb,13f,eb \
  membarrier=144,177,11b,185,11b memfd_create=13f,164,117,181,117 memfd_secret=1bf,1bf,1bf,,1bf \
  migrate_pages=100,126,ee,190,ee mincore=1b,da,e8,db,e8 mkdir=53,27,,27, \
  mkdirat=102,128,22,143,22 mknod=85,e,,e, mknodat=103,129,21,144,21 mlock=95,96,e4,96,e4 \
  mlock2=145,178,11c,186,11c mlockall=97,98,e6,98,e6 mmap=9,5a,de,,de mmap2=,c0,,c0, \
  modify_ldt=9a,7b,,, mount=a5,15,28,15,28 mount_setattr=1ba move_mount=1ad \
  move_pages=117,13d,ef,158,ef mprotect=a,7d,e2,7d,e2 mpx=,38,,, mq_getsetattr=f5,11a,b9,117,b9 \
  mq_notify=f4,119,b8,116,b8 mq_open=f0,115,b4,112,b4 mq_timedreceive=f3,118,b7,115,b7 \
  mq_timedreceive_time64=,1a3,,1a3, mq_timedsend=f2,117,b6,114,b6 mq_timedsend_time64=,1a2,,1a2, \
  mq_unlink=f1,116,b5,113,b5 mremap=19,a3,d8,a3,d8 mseal=1ce msgctl=47,192,bb,130,bb \
  msgget=44,18f,ba,12f,ba msgrcv=46,191,bc,12e,bc msgsnd=45,190,bd,12d,bd msync=1a,90,e3,90,e3 \
  munlock=96,97,e5,97,e5 munlockall=98,99,e7,99,e7 munmap=b,5b,d7,5b,d7 \
  name_to_handle_at=12f,155,108,172,108 nanosleep=23,a2,65,a2,65 newfstatat=106,,4f,,4f \
  nfsservctl=b4,a9,2a,a9,2a nice=,22,,22, oldfstat=,1c,,, oldlstat=,54,,, oldolduname=,3b,,, \
  oldstat=,12,,, olduname=,6d,,, open=2,5,,5, open_by_handle_at=130,156,109,173,109 open_tree=1ac \
  open_tree_attr=1d3 openat=101,127,38,142,38 openat2=1b5 pause=22,1d,,1d, \
  pciconfig_iobase=,,,10f, pciconfig_read=,,,110, pciconfig_write=,,,111, \
  perf_event_open=12a,150,f1,16c,f1 personality=87,88,5c,88,5c pidfd_getfd=1b6 pidfd_open=1b2 \
  pidfd_send_signal=1a8 pipe=16,2a,,2a, pipe2=125,14b,3b,167,3b pivot_root=9b,d9,29,da,29 \
  pkey_alloc=14a,17d,121,18b,121 pkey_free=14b,17e,122,18c,122 pkey_mprotect=149,17c,120,18a,120 \
  poll=7,a8,,a8, ppoll=10f,135,49,150,49 ppoll_time64=,19e,,19e, prctl=9d,ac,a7,ac,a7 \
  pread64=11,b4,43,b4,43 preadv=127,14d,45,169,45 preadv2=147,17a,11e,188,11e \
  prlimit64=12e,154,105,171,105 process_madvise=1b8 process_mrelease=1c0 \
  process_vm_readv=136,15b,10e,178,10e process_vm_writev=137,15c,10f,179,10f prof=,2c,,, \
  profil=,62,,, pselect6=10e,134,48,14f,48 pselect6_time64=,19d,,19d, ptrace=65,1a,75,1a,75 \
  putpmsg=b6,bd,,, pwrite64=12,b5,44,b5,44 pwritev=128,14e,46,16a,46 pwritev2=148,17b,11f,189,11f \
  query_module=b2,a7,,, quotactl=b3,83,3c,83,3c quotactl_fd=1bb read=0,3,3f,3,3f \
  readahead=bb,e1,d5,e1,d5 readdir=,59,,, readlink=59,55,,55, readlinkat=10b,131,4e,14c,4e \
  readv=13,91,41,91,41 reboot=a9,58,8e,58,8e recv=,,,123, recvfrom=2d,173,cf,124,cf \
  recvmmsg=12b,151,f3,16d,f3 recvmmsg_time64=,1a1,,1a1, recvmsg=2f,174,d4,129,d4 \
  remap_file_pages=d8,101,ea,fd,ea removexattr=c5,eb,e,eb,e removexattrat=1d2 rename=52,26,,26, \
  renameat=108,12e,26,149, renameat2=13c,161,114,17e,114 request_key=f9,11f,da,136,da \
  restart_syscall=db,0,80,0,80 riscv_flush_icache=,,,,103 riscv_hwprobe=,,,,102 rmdir=54,28,,28, \
  rseq=14e,182,125,18e,125 rseq_slice_yield=1d7 rt_sigaction=d,ae,86,ae,86 \
  rt_sigpending=7f,b0,88,b0,88 rt_sigprocmask=e,af,87,af,87 rt_sigqueueinfo=81,b2,8a,b2,8a \
  rt_sigreturn=f,ad,8b,ad,8b rt_sigsuspend=82,b3,85,b3,85 rt_sigtimedwait=80,b1,89,b1,89 \
  rt_sigtimedwait_time64=,1a5,,1a5, rt_tgsigqueueinfo=129,14f,f0,16b,f0 \
  sched_get_priority_max=92,9f,7d,9f,7d sched_get_priority_min=93,a0,7e,a0,7e \
  sched_getaffinity=cc,f2,7b,f2,7b sched_getattr=13b,160,113,17d,113 sched_getparam=8f,9b,79,9b,79 \
  sched_getscheduler=91,9d,78,9d,78 sched_rr_get_interval=94,a1,7f,a1,7f \
  sched_rr_get_interval_time64=,1a7,,1a7, sched_setaffinity=cb,f1,7a,f1,7a \
  sched_setattr=13a,15f,112,17c,112 sched_setparam=8e,9a,76,9a,76 \
  sched_setscheduler=90,9c,77,9c,77 sched_yield=18,9e,7c,9e,7c seccomp=13d,162,115,17f,115 \
  security=b9,,,, select=17,52,,, semctl=42,18a,bf,12c,bf semget=40,189,be,12b,be \
  semop=41,,c1,12a,c1 semtimedop=dc,,c0,138,c0 semtimedop_time64=,1a4,,1a4, send=,,,121, \
  sendfile=28,bb,47,bb,47 sendfile64=,ef,,ef, sendmmsg=133,159,10d,176,10d \
  sendmsg=2e,172,d3,128,d3 sendto=2c,171,ce,122,ce set_mempolicy=ee,114,ed,141,ed \
  set_mempolicy_home_node=1c2 set_robust_list=111,137,63,152,63 set_thread_area=cd,f3,,, \
  set_tid_address=da,102,60,100,60 set_tls=,,,f0005, setdomainname=ab,79,a2,79,a2 \
  setfsgid=7b,8b,98,8b,98 setfsgid32=,d8,,d8, setfsuid=7a,8a,97,8a,97 setfsuid32=,d7,,d7, \
  setgid=6a,2e,90,2e,90 setgid32=,d6,,d6, setgroups=74,51,9f,51,9f setgroups32=,ce,,ce, \
  sethostname=aa,4a,a1,4a,a1 setitimer=26,68,67,68,67 setns=134,15a,10c,177,10c \
  setpgid=6d,39,9a,39,9a setpriority=8d,61,8c,61,8c setregid=72,47,8f,47,8f setregid32=,cc,,cc, \
  setresgid=77,aa,95,aa,95 setresgid32=,d2,,d2, setresuid=75,a4,93,a4,93 setresuid32=,d0,,d0, \
  setreuid=71,46,91,46,91 setreuid32=,cb,,cb, setrlimit=a0,4b,a4,4b,a4 setsid=70,42,9d,42,9d \
  setsockopt=36,16e,d0,126,d0 settimeofday=a4,4f,aa,4f,aa setuid=69,17,92,17,92 setuid32=,d5,,d5, \
  setxattr=bc,e2,5,e2,5 setxattrat=1cf sgetmask=,44,,, shmat=1e,18d,c4,131,c4 \
  shmctl=1f,18c,c3,134,c3 shmdt=43,18e,c5,132,c5 shmget=1d,18b,c2,133,c2 shutdown=30,175,d2,125,d2 \
  sigaction=,43,,43, sigaltstack=83,ba,84,ba,84 signal=,30,,, signalfd=11a,141,,15d, \
  signalfd4=121,147,4a,163,4a sigpending=,49,,49, sigprocmask=,7e,,7e, sigreturn=,77,,77, \
  sigsuspend=,48,,48, socket=29,167,c6,119,c6 socketcall=,66,,, socketpair=35,168,c7,120,c7 \
  splice=113,139,4c,154,4c ssetmask=,45,,, stat=4,6a,,6a, stat64=,c3,,c3, statfs=89,63,2b,63,2b \
  statfs64=,10c,,10a, statmount=1c9 statx=14c,17f,123,18d,123 stime=,19,,, stty=,1f,,, \
  swapoff=a8,73,e1,73,e1 swapon=a7,57,e0,57,e0 symlink=58,53,,53, symlinkat=10a,130,24,14b,24 \
  sync=a2,24,51,24,51 sync_file_range=115,13a,54,,54 sync_file_range2=,,,155, \
  syncfs=132,158,10b,175,10b sysfs=8b,87,,87, sysinfo=63,74,b3,74,b3 syslog=67,67,74,67,74 \
  tee=114,13b,4d,156,4d tgkill=ea,10e,83,10c,83 time=c9,d,,, timer_create=de,103,6b,101,6b \
  timer_delete=e2,107,6f,105,6f timer_getoverrun=e1,106,6d,104,6d timer_gettime=e0,105,6c,103,6c \
  timer_gettime64=,198,,198, timer_settime=df,104,6e,102,6e timer_settime64=,199,,199, \
  timerfd_create=11b,142,55,15e,55 timerfd_gettime=11f,146,57,162,57 timerfd_gettime64=,19a,,19a, \
  timerfd_settime=11e,145,56,161,56 timerfd_settime64=,19b,,19b, times=64,2b,99,2b,99 \
  tkill=c8,ee,82,ee,82 truncate=4c,5c,2d,5c,2d truncate64=,c1,,c1, tuxcall=b8,,,, \
  ugetrlimit=,bf,,bf, ulimit=,3a,,, umask=5f,3c,a6,3c,a6 umount=,16,,, umount2=a6,34,27,34,27 \
  uname=3f,7a,a0,7a,a0 unlink=57,a,,a, unlinkat=107,12d,23,148,23 unshare=110,136,61,151,61 \
  uprobe=150,,,, uretprobe=14f,,,, uselib=86,56,,56, userfaultfd=143,176,11a,184,11a \
  usr26=,,,f0003, usr32=,,,f0004, ustat=88,3e,,3e, utime=84,1e,,, utimensat=118,140,58,15c,58 \
  utimensat_time64=,19c,,19c, utimes=eb,10f,,10d, vfork=3a,be,,be, vhangup=99,6f,3a,6f,3a \
  vm86=,a6,,, vm86old=,71,,, vmsplice=116,13c,4b,157,4b vserver=ec,111,,139, \
  wait4=3d,72,104,72,104 waitid=f7,11c,5f,118,5f waitpid=,7,,, write=1,4,40,4,40 \
  writev=14,92,42,92,42
  """
