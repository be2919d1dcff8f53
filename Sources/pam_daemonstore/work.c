// The two ways in which the work of a login is done.
#define _GNU_SOURCE
#include "work.h"

#include "../CDaemonStoreLinux/rights.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    FIRST_FREE_DESCRIPTOR = 4,  // the child has 0 to 2, and the leader on 3
    STATUS_NO_PROGRAM = 127,
    MOST_WORDS = 12,
    SHORT_PAUSE = 10,  // milliseconds
};

static const char control_socket[] = CONTROL_SOCKET;

static long long milliseconds(void) {
    struct timespec now = {0, 0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/// Milliseconds until `end`, for poll(2).
static int left_until(long long end) {
    long long left = end - milliseconds();
    return left > 0 ? (int)left : 0;
}

/// What is wrong with a password, as it is said to the user; NULL when nothing is.
const char *password_problem(const char *password) {
    if (strlen(password) > CONTROL_LONGEST_PASSWORD) {
        return "the password is longer than 4096 bytes; choose a shorter one";
    }
    return strchr(password, '\n') == NULL ? NULL
                                          : "the password has a line end in it; choose one without";
}

/// A pipe with these lines in it, to be read to its end; -1 where that fails. NULL is an empty
/// line.
static int pipe_with_lines(const char *const lines[], size_t count) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    int is_written = fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0;  // never waits for a reader
    for (size_t i = 0; i < count && is_written; i++) {
        const char *line = lines[i] == NULL ? "" : lines[i];
        size_t size = strlen(line);
        is_written = password_problem(line) == NULL &&
                     (size == 0 || write(ends[1], line, size) == (ssize_t)size) &&
                     write(ends[1], "\n", 1) == 1;
    }
    close(ends[1]);
    if (is_written) return ends[0];
    close(ends[0]);
    return -1;
}

/// In the child: gives back what a user may have set for the login, so that it can neither stop nor
/// slow down nor end what is done for root. What the process may not change stays.
static void reset_limits(void) {
    for (int kind = 0; kind < (int)RLIM_NLIMITS; kind++) {
        struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
        if (kind == RLIMIT_NOFILE) limit = (struct rlimit){1024, 524288};
        if (kind == RLIMIT_STACK) limit.rlim_cur = 8 << 20;
        if (kind == RLIMIT_CORE || kind == RLIMIT_NICE || kind == RLIMIT_RTPRIO) {
            limit = (struct rlimit){0, 0};
        }
        (void)setrlimit((__rlimit_resource_t)kind, &limit);
    }
    const struct sched_param no_priority = {0};
    (void)sched_setscheduler(0, SCHED_OTHER, &no_priority);
    (void)setpriority(PRIO_PROCESS, 0, 0);
    (void)syscall(SYS_ioprio_set, 1, 0, 0);  // of this process: by its nice value
    cpu_set_t all;
    memset(&all, 0xff, sizeof all);
    (void)sched_setaffinity(0, sizeof all, &all);
    (void)personality(PER_LINUX);
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
    // A program that is set-uid root has its caller as the real user, who could send it signals, and
    // in a session of its own no terminal can stop it.
    if (syscall(SYS_close_range, count, ~0U, 0) != 0 || setsid() < 0 ||
        syscall(SYS_setresgid, 0, 0, 0) != 0 || syscall(SYS_setresuid, 0, 0, 0) != 0 ||
        setrlimit(RLIMIT_CORE, &nothing) != 0 || chdir("/") != 0) {
        _exit(STATUS_NO_PROGRAM);
    }
    reset_limits();
    if (sigprocmask(SIG_SETMASK, &none, NULL) != 0) _exit(STATUS_NO_PROGRAM);
    umask(077);
    char *environment[] = {NULL};
    execve(program, (char *const *)(uintptr_t)argv, environment);
    _exit(STATUS_NO_PROGRAM);
}

/// Reads what is there; what does not fit is dropped. Returns 0 at the end, and 1 when more may come.
static int read_answer(int descriptor, char *answer, size_t *size) {
    char rest[512];
    for (;;) {
        size_t room = LONGEST_ANSWER - 1 - *size;
        ssize_t count =
            read(descriptor, room > 0 ? answer + *size : rest, room > 0 ? room : sizeof rest);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return count < 0 && errno == EAGAIN;
        if (room > 0) *size += (size_t)count;
        answer[*size] = '\0';
    }
}

/// Reads what the child says until it has ended: what it has started may keep the pipe open. -1 when it has
/// not ended in time; then it is killed, and not waited for. Else its status, as of wait(2).
static int wait_for_child(pid_t child, int messages, char *answer) {
    long long end = milliseconds() + CONTROL_TIME_TO_ANSWER;
    size_t size = 0;
    int status = -1;
    int process = (int)syscall(SYS_pidfd_open, child, 0);
    (void)fcntl(messages, F_SETFL, O_NONBLOCK);
    for (;;) {
        pid_t ended = waitpid(child, &status, __WALL | WNOHANG);
        int is_open = read_answer(messages, answer, &size);
        if (ended == child || (ended < 0 && errno != EINTR)) break;
        int left = left_until(end);
        if (left == 0) {
            (void)kill(child, SIGKILL);
            (void)waitpid(child, &status, __WALL | WNOHANG);
            status = -1;
            break;
        }
        struct pollfd entries[] = {{process, POLLIN, 0}, {is_open ? messages : -1, POLLIN, 0}};
        // Without a descriptor on the process, it is looked at now and then.
        (void)poll(entries, 2, process < 0 && left > SHORT_PAUSE ? SHORT_PAUSE : left);
    }
    if (process >= 0) close(process);
    return status;
}

// ---- Through cryptohomed -----------------------------------------------------------------------

/// Connects to cryptohomed; -1 where it does not run. Only root can listen there, and connect.
static int connect_control(long long end) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, control_socket, sizeof control_socket);
    int connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connection < 0) return -1;
    int result;
    // It runs, and has not yet taken all who have connected.
    while ((result = connect(connection, (struct sockaddr *)&address, sizeof address)) != 0 &&
           (errno == EAGAIN || errno == EINTR) && left_until(end) > 0) {
        (void)poll(NULL, 0, SHORT_PAUSE);
    }
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (result == 0 && getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
        peer.uid == 0) {
        return connection;
    }
    close(connection);
    return -1;
}

/// Sends the words of the request, each with a zero byte at its end, and the descriptors.
static int send_request(int connection, const struct work *work, const int descriptors[],
                        size_t count) {
    char words[CONTROL_LONGEST_REQUEST];
    size_t size = 0;
    const char *const list[] = {work->verb, work->session, work->user};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (list[i] == NULL) continue;
        size_t length = strlen(list[i]) + 1;
        if (length > sizeof words - size) return -1;
        memcpy(words + size, list[i], length);
        size += length;
    }
    union rights rights;
    struct iovec part = {words, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    rights_attach(&message, &rights, descriptors, count);
    return sendmsg(connection, &message, MSG_NOSIGNAL) == (ssize_t)size ? 0 : -1;
}

/// The next packet, ended by a zero byte; -1 when none comes until `end`, or it is too long.
static ssize_t receive_packet(int connection, char *packet, size_t room, long long end) {
    for (;;) {
        ssize_t count = recv(connection, packet, room - 1, MSG_DONTWAIT | MSG_TRUNC);
        if (count >= (ssize_t)room) return -1;
        if (count > 0) packet[count] = '\0';
        if (count >= 0) return count == 0 ? -1 : count;
        if (errno != EAGAIN && errno != EINTR) return -1;
        int left = left_until(end);
        if (left == 0) return -1;
        struct pollfd entry = {connection, POLLIN, 0};
        (void)poll(&entry, 1, left);
    }
}

/// Has cryptohomed do the work. 0 when it has not taken the request, or was not told to go on: then
/// nothing is done there. Else the status, and the answer, are in place.
int run_by_service(const struct work *work, int *status, char *answer) {
    long long end = milliseconds() + CONTROL_TIME_TO_TAKE;
    int connection = connect_control(end);
    if (connection < 0) return 0;
    int descriptors[CONTROL_MOST_DESCRIPTORS];
    size_t count = 0;
    int is_ready = 1;
    if (work->lines != NULL) {
        descriptors[count] = pipe_with_lines(work->lines, work->line_count);
        is_ready = descriptors[count] >= 0;
        count += (size_t)is_ready;
    }
    if (is_ready && work->leader > 0) {
        descriptors[count] = (int)syscall(SYS_pidfd_open, work->leader, 0);
        is_ready = descriptors[count] >= 0;
        count += (size_t)is_ready;
    }
    char packet[CONTROL_LONGEST_ANSWER + 1];
    int is_taken = is_ready && send_request(connection, work, descriptors, count) == 0 &&
                   receive_packet(connection, packet, sizeof packet, end) > 0 &&
                   strcmp(packet, CONTROL_TAKEN) == 0 &&
                   send(connection, CONTROL_GO, strlen(CONTROL_GO), MSG_NOSIGNAL) > 0;
    for (size_t i = 0; i < count; i++) close(descriptors[i]);
    if (is_taken) {
        *status = -1;
        end = milliseconds() + CONTROL_TIME_TO_ANSWER;
        if (receive_packet(connection, packet, sizeof packet, end) > 0) {
            char *rest = packet;
            *status = (int)strtol(packet, &rest, 10);
            snprintf(answer, LONGEST_ANSWER, "%s", *rest == '\n' ? rest + 1 : rest);
        }
    }
    close(connection);
    return is_taken;
}

// ---- Through a process started here ------------------------------------------------------------

/// Runs the program beside this process. -1 when it did not run to its end.
int run_by_helper(const char *program, const struct work *work, char *answer) {
    const char *argv[MOST_WORDS] = {"cryptohome", "pam", work->verb};
    size_t count = 3;
    int leader = -1;
    if (work->leader > 0) {
        leader = (int)syscall(SYS_pidfd_open, work->leader, 0);
        if (leader < 0) return -1;
        argv[count++] = "--leader-fd";
        argv[count++] = "3";
    }
    if (work->session != NULL) {
        argv[count++] = "--session";
        argv[count++] = work->session;
    }
    if (strcmp(work->verb, CONTROL_OPEN) == 0) argv[count++] = "--stay";
    argv[count++] = "--";
    argv[count++] = work->user;
    int messages[2] = {-1, -1};
    pid_t child = -1;
    int input = pipe_with_lines(work->lines, work->line_count);
    if (input >= 0 && pipe2(messages, O_CLOEXEC) == 0) {
        sigset_t all, before;
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, &before);  // no handler of the application's runs in the child
        // A fork whose end sends no signal: no handler of the application's, and no SIGCHLD that it
        // ignores, takes the status away.
        child = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
        if (child == 0) become(program, argv, input, messages[1], leader);
        sigprocmask(SIG_SETMASK, &before, NULL);
        close(messages[1]);
    }
    if (input >= 0) close(input);
    if (leader >= 0) close(leader);
    int status = -1;
    if (child > 0) {
        status = wait_for_child(child, messages[0], answer);
    }
    if (messages[0] >= 0) close(messages[0]);
    int has_run = child > 0 && status >= 0 && WIFEXITED(status) &&
                  WEXITSTATUS(status) != STATUS_NO_PROGRAM;
    return has_run ? WEXITSTATUS(status) : -1;
}
