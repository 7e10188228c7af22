/* What the filter refuses: for every system call its number on x86-64 and on arm64 (ABSENT where there is none).
 *
 * Numbers are from arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.  Included by filter.c
 * alone. */
enum { ABSENT = -1 };

/* Newer calls than this are refused until somebody has looked at them: file_setattr of Linux 6.17. */
enum { YOUNGEST = 469 };

struct row {
    short x86_64, arm64;
};

/* Numbers between the older calls and those that all architectures have since Linux 5.1; none that is given out later is
 * in use before somebody has looked at it. */
static const struct {
    int first, last;
} unassigned[] = {[FILTER_X86_64] = {337, 423}, [FILTER_ARM64] = {295, 423}};

/* Fails with EPERM. */
static const struct row refused[] = {
    /* namespaces and mounts: a new user namespace would bring all capabilities back */
    {308, 268},    /* setns */
    {165, 40},     /* mount */
    {166, 39},     /* umount2 */
    {155, 41},     /* pivot_root */
    {161, 51},     /* chroot */
    {428, 428},    /* open_tree */
    {429, 429},    /* move_mount */
    {430, 430},    /* fsopen */
    {431, 431},    /* fsconfig */
    {432, 432},    /* fsmount */
    {433, 433},    /* fspick */
    {442, 442},    /* mount_setattr */
    {467, 467},    /* open_tree_attr */
    /* other processes' memory and descriptors */
    {101, 117},    /* ptrace */
    {310, 270},    /* process_vm_readv */
    {311, 271},    /* process_vm_writev */
    {440, 440},    /* process_madvise */
    {448, 448},    /* process_mrelease */
    {312, 272},    /* kcmp */
    {438, 438},    /* pidfd_getfd */
    /* ways around the filter, and parts of the kernel that are much attacked */
    {425, 425},    /* io_uring_setup */
    {426, 426},    /* io_uring_enter */
    {427, 427},    /* io_uring_register */
    {321, 280},    /* bpf */
    {298, 241},    /* perf_event_open */
    {323, 282},    /* userfaultfd */
    {300, 262},    /* fanotify_init */
    {301, 263},    /* fanotify_mark */
    /* keyrings belong to the user, not to the sandbox */
    {248, 217},    /* add_key */
    {249, 218},    /* request_key */
    {250, 219},    /* keyctl */
    /* a handle names a file whatever hides it */
    {304, 265},    /* open_by_handle_at */
    /* the whole machine */
    {246, 104},    /* kexec_load */
    {320, 294},    /* kexec_file_load */
    {169, 142},    /* reboot */
    {167, 224},    /* swapon */
    {168, 225},    /* swapoff */
    {163, 89},     /* acct */
    {179, 60},     /* quotactl */
    {443, 443},    /* quotactl_fd */
    {103, 116},    /* syslog */
    {174, ABSENT}, /* create_module */
    {175, 105},    /* init_module */
    {176, 106},    /* delete_module */
    {177, ABSENT}, /* get_kernel_syms */
    {178, ABSENT}, /* query_module */
    {313, 273},    /* finit_module */
    {164, 170},    /* settimeofday */
    {227, 112},    /* clock_settime */
    {170, 161},    /* sethostname */
    {171, 162},    /* setdomainname */
    {153, 58},     /* vhangup */
    {172, ABSENT}, /* iopl */
    {173, ABSENT}, /* ioperm */
    {154, ABSENT}, /* modify_ldt */
    {134, ABSENT}, /* uselib */
    {139, ABSENT}, /* sysfs */
    {156, ABSENT}, /* _sysctl */
    {180, 42},     /* nfsservctl */
    {212, 18},     /* lookup_dcookie */
};

/* Fails with ENOSYS: their arguments lie in memory, which a filter cannot read, and programs fall back. */
static const struct row absent[] = {
    {435, 435}, /* clone3, to clone */
    {437, 437}, /* openat2, to openat */
};

/* Without an IPC namespace: ENOSYS, as from a kernel that has none of it. */
static const struct row ipc[] = {
    {29, 194},  /* shmget */
    {30, 196},  /* shmat */
    {31, 195},  /* shmctl */
    {64, 190},  /* semget */
    {65, 193},  /* semop */
    {66, 191},  /* semctl */
    {220, 192}, /* semtimedop */
    {68, 186},  /* msgget */
    {69, 189},  /* msgsnd */
    {70, 188},  /* msgrcv */
    {71, 187},  /* msgctl */
    {240, 180}, /* mq_open */
    {241, 181}, /* mq_unlink */
};

/* Without a PID namespace: EPERM. */
static const struct row others[] = {
    {256, 238}, /* migrate_pages */
    {279, 239}, /* move_pages */
};

/* Without a PID namespace: EPERM for any process but the caller, 0.  Whether another one is inside cannot be told from
 * its number, so that a thread's own by its number is refused too (pthread_setaffinity_np(3)). */
static const struct row scheduling[] = {
    {144, 119}, /* sched_setscheduler */
    {142, 118}, /* sched_setparam */
    {314, 274}, /* sched_setattr */
    {203, 122}, /* sched_setaffinity */
};

/* Where nothing may be changed: EROFS.  Landlock has rights for contents and names, and none for these. */
static const struct row metadata[] = {
    {92, ABSENT},  /* chown */
    {93, 55},      /* fchown */
    {94, ABSENT},  /* lchown */
    {260, 54},     /* fchownat */
    {132, ABSENT}, /* utime */
    {235, ABSENT}, /* utimes */
    {261, ABSENT}, /* futimesat */
    {280, 88},     /* utimensat */
    {188, 5},      /* setxattr */
    {189, 6},      /* lsetxattr */
    {190, 7},      /* fsetxattr */
    {197, 14},     /* removexattr */
    {198, 15},     /* lremovexattr */
    {199, 16},     /* fremovexattr */
    {463, 463},    /* setxattrat */
    {466, 466},    /* removexattrat */
    {469, 469},    /* file_setattr */
};

/* Those whose arguments decide; filter.c says how. */
static const struct row sys_clone = {56, 220}, sys_unshare = {272, 97}, sys_ioctl = {16, 29}, sys_fcntl = {72, 25},
                        sys_personality = {135, 92}, sys_socket = {41, 198}, sys_socketpair = {53, 199},
                        sys_connect = {42, 203}, sys_listen = {50, 201}, sys_sendto = {44, 206},
                        sys_sendmsg = {46, 211}, sys_sendmmsg = {307, 269}, sys_bind = {49, 200},
                        sys_setsockopt = {54, 208}, sys_setpriority = {141, 140}, sys_ioprio_set = {251, 30},
                        sys_open = {2, ABSENT}, sys_openat = {257, 56}, sys_creat = {85, ABSENT},
                        sys_chmod = {90, ABSENT}, sys_fchmod = {91, 52}, sys_fchmodat = {268, 53},
                        sys_fchmodat2 = {452, 452}, sys_mknod = {133, ABSENT}, sys_mknodat = {259, 33},
                        sys_renameat2 = {316, 276}, sys_setrlimit = {160, 164}, sys_prlimit64 = {302, 261};
