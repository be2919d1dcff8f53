// libminijailpreload.so: what of a jail can only be done after the dynamic loader has run, and is
// never more than a further restriction. It is preloaded into the program, replaces
// __libc_start_main, and does its part before the program's own main. No Swift in here: it runs
// in other people's processes.
//
// minijail0 says what to do in the variable __MINIJAIL_FD, letters with numbers behind them:
//   r7   report on descriptor 7: the byte R when the jail is complete, or E and why it is not
//   w5   go back to the working directory that is open on descriptor 5
//   l6   restrict this process by the Landlock ruleset that is open on descriptor 6
//   a    clear the ambient capabilities
//   f8   load the filter of system calls whose instructions are open on descriptor 8
//   g4   with these flags of seccomp(2)
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STATUS_NO_JAIL = 252 };

typedef int main_function(int, char **, char **);
typedef int start_function(main_function *, int, char **, void (*)(void), void (*)(void),
                           void (*)(void), void *);

static main_function *program_main;

/// Takes a variable out of the environment, and leaves the order of the others.
static void remove_variable(const char *name) {
    size_t length = strlen(name);
    char **kept = environ;
    for (char **entry = environ; *entry != NULL; entry++) {
        if (strncmp(*entry, name, length) != 0 || (*entry)[length] != '=') *kept++ = *entry;
    }
    *kept = NULL;
}

/// LD_PRELOAD as the caller of minijail0 had it: without the last word.
static void restore_preload(void) {
    char *value = getenv("LD_PRELOAD");
    char *blank = value == NULL ? NULL : strrchr(value, ' ');
    if (blank != NULL) {
        *blank = '\0';
    } else {
        remove_variable("LD_PRELOAD");
    }
}

static void fail(int report, const char *what) {
    dprintf(report, "E%s: %s", what, strerror(errno));
    _exit(STATUS_NO_JAIL);
}

/// What the kernel takes; BPF_MAXINSNS instructions at most. Not on the heap, which is the program's.
static struct sock_filter instructions[BPF_MAXINSNS];

static unsigned short read_filter(int file, int report) {
    ssize_t size = pread(file, instructions, sizeof instructions, 0);
    if (size <= 0 || size % (ssize_t)sizeof *instructions != 0) fail(report, "read the filter");
    close(file);
    return (unsigned short)(size / (ssize_t)sizeof *instructions);
}

static void finish_jail(void) {
    const char *orders = getenv("__MINIJAIL_FD");
    if (orders == NULL || getauxval(AT_UID) != getauxval(AT_EUID) ||
        getauxval(AT_GID) != getauxval(AT_EGID)) {
        _exit(STATUS_NO_JAIL);
    }
    int report = -1, directory = -1, ruleset = -1, clears_ambient = 0;
    int filter = -1;
    unsigned flags = 0;
    for (const char *order = orders; *order != '\0';) {
        char letter = *order++;
        char *end;
        int number = (int)strtol(order, &end, 10);
        order = end;
        switch (letter) {
        case 'r': report = number; break;
        case 'w': directory = number; break;
        case 'l': ruleset = number; break;
        case 'a': clears_ambient = 1; break;
        case 'f': filter = number; break;
        case 'g': flags = (unsigned)number; break;
        default: _exit(STATUS_NO_JAIL);
        }
    }
    if (directory >= 0) {
        if (fchdir(directory) != 0) fail(report, "fchdir to the working directory");
        close(directory);
    }
    if (clears_ambient && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0L, 0L, 0L) != 0) {
        fail(report, "clear the ambient capabilities");
    }
    if (ruleset >= 0) {
        // Without it, only CAP_SYS_ADMIN may restrict itself, and that is gone by now.
        if (prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) != 0) fail(report, "set no_new_privs");
        if (syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) {
            fail(report, "landlock_restrict_self");
        }
        close(ruleset);
    }
    struct sock_fprog program = {.filter = instructions};
    if (filter >= 0) program.len = read_filter(filter, report);
    remove_variable("__MINIJAIL_FD");
    restore_preload();
    // Behind the filter nothing can be reported: what follows is one call. Nothing here allocates, so
    // that the program finds the heap as it would without us.
    if (write(report, "R", 1) != 1) _exit(STATUS_NO_JAIL);
    close(report);
    if (filter < 0) return;
    // For threads that an initialiser has started, too. A thread that cannot follow is a failure, and
    // then the result is its number.
    flags |= SECCOMP_FILTER_FLAG_TSYNC;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) != 0) {
        static const char text[] = "minijail0: the filter of system calls could not be loaded\n";
        if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(STATUS_NO_JAIL);
        _exit(STATUS_NO_JAIL);
    }
}

static int jailed_main(int argc, char **argv, char **envp) {
    (void)envp;
    finish_jail();
    return program_main(argc, argv, environ);
}

__attribute__((visibility("default"))) int __libc_start_main(main_function *main, int argc,
                                                             char **argv, void (*init)(void),
                                                             void (*fini)(void),
                                                             void (*loader_fini)(void),
                                                             void *stack_end) {
    start_function *start = (start_function *)dlsym(RTLD_NEXT, "__libc_start_main");
    if (start == NULL) _exit(STATUS_NO_JAIL);
    program_main = main;
    return start(jailed_main, argc, argv, init, fini, loader_fini, stack_end);
}

/// Whether the program calls __libc_start_main at all: the name is among those that it imports.
static int calls_start_main(void) {
    const ElfW(Phdr) *headers = (const ElfW(Phdr) *)getauxval(AT_PHDR);
    size_t count = getauxval(AT_PHNUM);
    const ElfW(Dyn) *dynamic = NULL;
    ElfW(Addr) base = 0;
    for (size_t i = 0; i < count; i++) {
        if (headers[i].p_type == PT_PHDR) base = (ElfW(Addr))headers - headers[i].p_vaddr;
    }
    for (size_t i = 0; i < count; i++) {
        if (headers[i].p_type == PT_DYNAMIC) {
            dynamic = (const ElfW(Dyn) *)(base + headers[i].p_vaddr);
        }
    }
    const char *names = NULL;
    size_t size = 0;
    for (; dynamic != NULL && dynamic->d_tag != DT_NULL; dynamic++) {
        // Most loaders have made an address of the offset.
        if (dynamic->d_tag == DT_STRTAB) {
            ElfW(Addr) place = dynamic->d_un.d_ptr;
            names = (const char *)(place < base ? base + place : place);
        }
        if (dynamic->d_tag == DT_STRSZ) size = dynamic->d_un.d_val;
    }
    static const char name[] = "\0__libc_start_main";
    return names == NULL || memmem(names, size, name, sizeof name) != NULL;
}

/// A program with an entry point of its own (Go without cgo) has no main that could be wrapped:
/// it gets its jail when its libraries are ready.
__attribute__((constructor)) static void finish_jail_without_main(void) {
    if (!calls_start_main()) finish_jail();
}
