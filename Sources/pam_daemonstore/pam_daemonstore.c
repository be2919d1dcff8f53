// pam_daemonstore.so: a login opens the user's vault, a logout closes it, and a change of password
// changes the vault's too. The work is done by `cryptohome pam`, started here; this file carries
// the password there, and what it says back to the user.
//
//   cryptohome=PATH   the program, where it is not in its usual place
//   all-services      also in those of the list below
//
// Nothing in here refuses a login, or grants one.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#pragma GCC visibility push(default)  // the rest of this file stays inside
#include <security/pam_modules.h>
#pragma GCC visibility pop
#include <security/pam_ext.h>

#ifndef CRYPTOHOME
#define CRYPTOHOME "/usr/bin/cryptohome"
#endif

/// Services that act for a user who has not logged in with them: who becomes another user for a
/// moment, and what runs unattended. What they leave running would hold the vault.
static const char *const left_out[] = {
    "atd", "cron", "crond", "doas", "runuser", "runuser-l", "su", "su-l", "sudo", "sudo-i",
    "systemd-user",
};

enum {
    LONGEST_PASSWORD = 4096,
    KEPT_SIZE = LONGEST_PASSWORD + 1,
    LONGEST_ANSWER = 4096,
    FIRST_FREE_DESCRIPTOR = 4,  // the child has 0 to 2, and the leader on 3
    STATUS_NO_PROGRAM = 127,
};

static const char kept_password[] = "pam_daemonstore_password";
static const char kept_leader[] = "pam_daemonstore_leader";

struct options {
    const char *cryptohome;
    int is_silent;
};

/// Reads the module's arguments; 0 when there is nothing to do in this service.
static int read_options(pam_handle_t *pamh, struct options *options, int flags, int count,
                        const char **arguments) {
    int serves_all = 0;
    *options = (struct options){.cryptohome = CRYPTOHOME, .is_silent = (flags & PAM_SILENT) != 0};
    for (int i = 0; i < count; i++) {
        if (strncmp(arguments[i], "cryptohome=/", 12) == 0) {
            options->cryptohome = arguments[i] + 11;
        } else if (strcmp(arguments[i], "all-services") == 0) {
            serves_all = 1;
        } else {
            pam_syslog(pamh, LOG_ERR, "unknown argument %s", arguments[i]);
        }
    }
    const void *service = NULL;
    if (pam_get_item(pamh, PAM_SERVICE, &service) != PAM_SUCCESS || service == NULL) return 0;
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++) {
        if (!serves_all && strcmp(service, left_out[i]) == 0) return 0;
    }
    return 1;
}

// ---- The password, from auth to the session ----------------------------------------------------

static void wipe(pam_handle_t *pamh, void *data, int status) {
    (void)pamh, (void)status;
    explicit_bzero(data, KEPT_SIZE);
    munmap(data, KEPT_SIZE);
}

/// Keeps the password until the session is opened, or pam_end(3): out of swap and of core dumps.
static void keep_password(pam_handle_t *pamh, const char *password) {
    size_t size = strlen(password) + 1;
    if (size > KEPT_SIZE) return;
    char *copy =
        mmap(NULL, KEPT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) return;
    // Where that is refused, the password is as safe as the copies that libpam makes.
    (void)mlock(copy, KEPT_SIZE);
    (void)madvise(copy, KEPT_SIZE, MADV_DONTDUMP);
    memcpy(copy, password, size);
    if (pam_set_data(pamh, kept_password, copy, wipe) != PAM_SUCCESS) wipe(pamh, copy, 0);
}

static void forget_password(pam_handle_t *pamh) {
    (void)pam_set_data(pamh, kept_password, NULL, NULL);  // wipes what was there
}

static const char *password_kept(const pam_handle_t *pamh) {
    const void *password = NULL;
    return pam_get_data(pamh, kept_password, &password) == PAM_SUCCESS ? password : NULL;
}

// ---- cryptohome pam ----------------------------------------------------------------------------

/// A pipe with these lines in it, to be read to its end; -1 where that fails. NULL is an empty
/// line.
static int pipe_with_lines(const char *const lines[], size_t count) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    int is_written = fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0;  // never waits for a reader
    for (size_t i = 0; i < count && is_written; i++) {
        const char *line = lines[i] == NULL ? "" : lines[i];
        size_t size = strlen(line);
        is_written = size <= LONGEST_PASSWORD && strchr(line, '\n') == NULL &&
                     (size == 0 || write(ends[1], line, size) == (ssize_t)size) &&
                     write(ends[1], "\n", 1) == 1;
    }
    close(ends[1]);
    if (is_written) return ends[0];
    close(ends[0]);
    return -1;
}

/// In the child: nothing of the application's gets through but what is wanted. System calls only:
/// the other threads of the application, and their locks, are not here.
static _Noreturn void become(const char *program, const char *const argv[], int input,
                             int messages, int leader) {
    int descriptors[] = {input, messages, messages, leader};
    unsigned count = leader < 0 ? 3 : 4;
    for (unsigned i = 0; i < count; i++) {  // out of the way first
        descriptors[i] = fcntl(descriptors[i], F_DUPFD, FIRST_FREE_DESCRIPTOR);
    }
    for (unsigned i = 0; i < count; i++) {
        if (dup2(descriptors[i], (int)i) < 0) _exit(STATUS_NO_PROGRAM);
    }
    const struct sigaction as_usual = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++) sigaction(number, &as_usual, NULL);
    sigset_t none;
    sigemptyset(&none);
    const struct rlimit nothing = {0, 0};
    // A program that is set-uid root has its caller as the real user, who could send it signals.
    if (syscall(SYS_close_range, count, ~0U, 0) != 0 || syscall(SYS_setresgid, 0, 0, 0) != 0 ||
        syscall(SYS_setresuid, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &nothing) != 0 ||
        chdir("/") != 0 || sigprocmask(SIG_SETMASK, &none, NULL) != 0) {
        _exit(STATUS_NO_PROGRAM);
    }
    umask(077);
    char *environment[] = {NULL};
    execve(program, (char *const *)(uintptr_t)argv, environment);
    _exit(STATUS_NO_PROGRAM);
}

/// Reads to the end; what does not fit is dropped. Ends in a zero byte.
static void read_answer(int descriptor, char *answer) {
    size_t size = 0;
    char rest[512];
    for (;;) {
        size_t room = LONGEST_ANSWER - 1 - size;
        ssize_t count =
            read(descriptor, room > 0 ? answer + size : rest, room > 0 ? room : sizeof rest);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) break;
        if (room > 0) size += (size_t)count;
    }
    answer[size] = '\0';
}

/// Tells the user, and the log, line by line.
static void tell(pam_handle_t *pamh, const struct options *options, int is_error, char *answer) {
    char *rest = NULL;
    for (char *line = strtok_r(answer, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        pam_syslog(pamh, is_error ? LOG_NOTICE : LOG_INFO, "%s", line);
        if (options->is_silent) continue;
        if (is_error) {
            pam_error(pamh, "%s", line);
        } else {
            pam_info(pamh, "%s", line);
        }
    }
}

/// Runs `argv` with what `input` holds on its standard input, and the session's leader on
/// descriptor 3 unless that is -1. Closes both. 0 when all was done; what was not has been told
/// then.
static int run(pam_handle_t *pamh, const struct options *options, const char *const argv[],
               int input, int leader) {
    int messages[2] = {-1, -1};
    pid_t child = -1;
    if (input >= 0 && pipe2(messages, O_CLOEXEC) == 0) {
        sigset_t all, before;
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, &before);  // no handler of the application's runs in the child
        // A fork whose end sends no signal: no handler of the application's, and no SIGCHLD that it
        // ignores, takes the status away.
        child = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
        if (child == 0) become(options->cryptohome, argv, input, messages[1], leader);
        sigprocmask(SIG_SETMASK, &before, NULL);
        close(messages[1]);
    }
    if (input >= 0) close(input);
    if (leader >= 0) close(leader);
    char answer[LONGEST_ANSWER] = "";
    int status = -1;
    if (child > 0) {
        read_answer(messages[0], answer);
        while (waitpid(child, &status, __WALL) < 0 && errno == EINTR) continue;
    }
    if (messages[0] >= 0) close(messages[0]);
    tell(pamh, options, status != 0, answer);
    if (child < 0 || !WIFEXITED(status) || WEXITSTATUS(status) == STATUS_NO_PROGRAM) {
        char complaint[] =
            "your daemon-store vault: cryptohome could not be run; see the system's log";
        pam_syslog(pamh, LOG_ERR, "%s pam %s did not run to its end", options->cryptohome,
                   argv[2]);
        tell(pamh, options, 1, complaint);
    }
    return status;
}

/// The user that all is about; NULL where there is none, or nothing can be done as who we are.
static const char *user_of(pam_handle_t *pamh) {
    const void *user = NULL;
    if (geteuid() != 0 || pam_get_item(pamh, PAM_USER, &user) != PAM_SUCCESS) return NULL;
    return user;
}

// ---- What PAM calls ----------------------------------------------------------------------------

int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv) {
    struct options options;
    const void *password = NULL;
    if (read_options(pamh, &options, flags, argc, argv) && geteuid() == 0 &&
        pam_get_item(pamh, PAM_AUTHTOK, &password) == PAM_SUCCESS && password != NULL) {
        keep_password(pamh, password);
    }
    return PAM_IGNORE;
}

int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv) {
    (void)pamh, (void)flags, (void)argc, (void)argv;
    return PAM_IGNORE;
}

int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv) {
    struct options options;
    int serves = read_options(pamh, &options, flags, argc, argv);
    const char *user = user_of(pamh);
    if (!serves || user == NULL) return PAM_SUCCESS;
    // Who opens a session stays until it ends: login(1), the monitor of sshd(8), the worker of a
    // display manager. Its children have the number, for who closes from one of them.
    pid_t leader = getpid();
    (void)pam_set_data(pamh, kept_leader, (void *)(intptr_t)leader, NULL);
    const char *const command[] = {"cryptohome", "pam", "open", "--leader-fd", "3", "--", user,
                                   NULL};
    const char *const lines[] = {password_kept(pamh)};
    (void)run(pamh, &options, command, pipe_with_lines(lines, lines[0] != NULL),
              (int)syscall(SYS_pidfd_open, leader, 0));
    forget_password(pamh);
    return PAM_SUCCESS;
}

int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv) {
    struct options options;
    int serves = read_options(pamh, &options, flags, argc, argv);
    const char *user = user_of(pamh);
    if (!serves || user == NULL) return PAM_SUCCESS;
    const void *kept = NULL;
    if (pam_get_data(pamh, kept_leader, &kept) != PAM_SUCCESS) kept = (void *)(intptr_t)getpid();
    int leader = (int)syscall(SYS_pidfd_open, (pid_t)(intptr_t)kept, 0);
    const char *const command[] = {"cryptohome", "pam", "close", "--leader-fd", "3", "--", user,
                                   NULL};
    const char *const without_leader[] = {"cryptohome", "pam", "settle", NULL};
    (void)run(pamh, &options, leader < 0 ? without_leader : command, pipe_with_lines(NULL, 0),
              leader);
    return PAM_SUCCESS;
}

int pam_sm_chauthtok(pam_handle_t *pamh, int flags, int argc, const char **argv) {
    struct options options;
    int serves = read_options(pamh, &options, flags, argc, argv);
    const char *user = user_of(pamh);
    // PAM_PRELIM_CHECK comes before anybody has asked for a password: there is nothing to check.
    if (!serves || user == NULL || (flags & PAM_UPDATE_AUTHTOK) == 0) return PAM_IGNORE;
    const void *old = NULL, *new = NULL;
    // Who refuses a new password takes it back.
    if (pam_get_item(pamh, PAM_AUTHTOK, &new) != PAM_SUCCESS || new == NULL) return PAM_IGNORE;
    (void)pam_get_item(pamh, PAM_OLDAUTHTOK, &old);
    const char *const command[] = {"cryptohome", "pam", "change", "--", user, NULL};
    const char *const lines[] = {old != NULL ? old : password_kept(pamh), new};
    // An expired password is changed between auth and the session.
    if (run(pamh, &options, command, pipe_with_lines(lines, 2), -1) == 0 &&
        password_kept(pamh) != NULL) {
        keep_password(pamh, new);
    }
    return PAM_IGNORE;
}
