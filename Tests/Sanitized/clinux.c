// Drives Sources/CDaemonStoreLinux with good and hostile input, as root in a mount namespace of its own.
#define _GNU_SOURCE
#include "check.h"

#include <attributes.h>
#include <clinux.h>
#include <encryption.h>
#include <fcntl.h>
#include <filters.h>
#include <packets.h>
#include <privileges.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <tracing.h>
#include <unistd.h>

/// How many descriptors this process has: what was not closed is found here.
static int open_descriptors(void) {
    int count = 0;
    for (int number = 0; number < 1024; number++) count += fcntl(number, F_GETFD) >= 0;
    return count;
}

/// Sends one packet with this many descriptors, by the system's own means.
static void send_many(int socket, size_t size, size_t count) {
    char bytes[4096] = "packet";
    union {
        struct cmsghdr first;
        char space[CMSG_SPACE(253 * sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec part = {bytes, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.first.cmsg_level = SOL_SOCKET;
        control.first.cmsg_type = SCM_RIGHTS;
        control.first.cmsg_len = CMSG_LEN(count * sizeof(int));
        for (size_t i = 0; i < count; i++) {
            int number = STDERR_FILENO;
            memcpy(CMSG_DATA(&control.first) + i * sizeof number, &number, sizeof number);
        }
    }
    CHECK(sendmsg(socket, &message, 0) == (ssize_t)size);
}

static void packets(void) {
    static const char path[] = "/run/socket";
    int listener = linux_listen_packets(path), near = linux_connect_packets(path);
    int far = linux_accept_packets(listener);
    CHECK(listener >= 0 && near >= 0 && far >= 0);
    pid_t process;
    uid_t user;
    CHECK(linux_peer(far, &process, &user) == 0 && process == getpid() && user == 0);
    char long_path[300];
    memset(long_path, 'x', sizeof long_path);
    for (size_t length = 100; length < sizeof long_path; length++) {
        char *copy = exact(long_path, length + 1);
        copy[length] = '\0';
        CHECK(linux_connect_packets(copy) < 0 && (length < 108 || linux_listen_packets(copy) < 0));
        unlink(copy);
        free(copy);
    }
    int before = open_descriptors();
    for (size_t size = 1; size < 40; size += 13) {
        for (size_t sent = 0; sent <= 12; sent++) {
            for (size_t room = 0; room <= 9; room += 3) {
                for (size_t space = 0; space < 40; space += 13) {
                    send_many(near, size, sent);
                    char *bytes = malloc(space + !space);
                    int *descriptors = malloc(room * sizeof(int) + !room);
                    size_t count = 77;
                    ssize_t got = linux_receive_packet(far, bytes, space, descriptors, room, &count);
                    int fits = size <= space && sent <= room;
                    CHECK(fits ? got == (ssize_t)size && count == sent : got < 0 && count == 0);
                    while (count > 0) close(descriptors[--count]);
                    free(bytes);
                    free(descriptors);
                }
            }
        }
    }
    CHECK(open_descriptors() == before);
    const int many[9] = {0, 0, 0, 0, 0, 0, 0, 0, 0};
    CHECK(linux_send_packet(near, "x", 1, many, 9) < 0 && linux_send_packet(near, "x", 1, many, 8) == 0);
    close(near);
    close(far);
    close(listener);
}

static void reports(void) {
    int ends[2];
    CHECK(linux_report_sockets(ends) == 0);
    int before = open_descriptors();
    for (size_t sent = 0; sent <= 253; sent += sent < 6 ? 1 : 19) {
        send_many(ends[1], 1, sent);
        char byte;
        pid_t sender;
        int descriptor = -1;
        CHECK(linux_receive_descriptor(ends[0], &byte, 1, &sender, &descriptor) == 1);
        CHECK(sender == getpid() && (descriptor >= 0) == (sent > 0));
        if (descriptor >= 0) close(descriptor);
        CHECK(open_descriptors() == before);
        send_many(ends[1], 4096, sent);
        CHECK(linux_receive_report(ends[0], &byte, 1, &sender) == 1);
        CHECK(open_descriptors() == before);
    }
    CHECK(linux_send_descriptor(ends[0], "a", 1, ends[0]) == 0);
    CHECK(linux_send_descriptor(ends[0], "a", 1, -1) == 0);
    close(ends[0]);
    close(ends[1]);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
    before = open_descriptors();
    static const int rooms[] = {0, 1, 3, 253};
    for (size_t i = 0; i < 4; i++) {
        for (size_t sent = 0; sent <= 253; sent += 11) {
            send_many(ends[1], 4096, sent);
            int *out = malloc((size_t)rooms[i] * sizeof *out + !rooms[i]);
            int count = linux_peek_descriptors(ends[0], out, rooms[i]);
            CHECK(count == (rooms[i] < (int)sent ? rooms[i] : (int)sent));
            while (count > 0) close(out[--count]);
            free(out);
            char byte;
            CHECK(recv(ends[0], &byte, 1, 0) == 1);
            CHECK(open_descriptors() == before);
        }
    }
    close(ends[0]);
    close(ends[1]);
}

static void mounts(void) {
    uint64_t id = 0, list[512];
    CHECK(linux_mount_at("/run", &id) == 1 && linux_mount_at("/run/none", &id) < 0);
    long count = linux_listmount(0, linux_mount_root, 0, list, 512);
    for (size_t room = 0; count > 0 && room < 8; room++) {
        uint64_t *few = malloc(room * sizeof *few + !room);
        CHECK(linux_listmount(0, linux_mount_root, 0, few, room) <= (long)room);
        free(few);
    }
    for (long i = 0; i < count; i++) {
        for (size_t size = 0; size < 900; size += i == 0 ? 1 : 300) {
            char *buffer = malloc(size + !size);
            (void)linux_statmount(0, list[i], buffer, size);
            free(buffer);
        }
    }
    char bytes[200] = "";
    int root = open("/", O_RDONLY);
    for (unsigned size = 0; size < sizeof bytes; size++) {
        char *copy = exact(bytes, size + !size);
        CHECK(linux_open_handle(root, 1, copy, size) < 0);
        free(copy);
    }
    int same = linux_reopen_through(root, "run", root);
    CHECK(same < 0 || close(same) == 0);
    uint64_t type, file_system;
    CHECK(linux_file_system("/run", &type, &file_system) == 0 && linux_file_system_type(root, &type) == 0);
    struct statx status;
    CHECK(linux_statx(root, "run", 0, &status) == 0 && linux_statx_least(root, "run", &status) == 0);
    close(root);
}

static void attributes(void) {
    CHECK(mkdir("/run/one", 0750) == 0 && mkdir("/run/two", 0700) == 0);
    int one = open("/run/one", O_RDONLY), two = open("/run/two", O_RDONLY);
    for (int i = 0; i < 40; i++) {
        char name[64], value[4000];
        snprintf(name, sizeof name, "trusted.%d.%.*s", i, i, "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn");
        memset(value, 'v', sizeof value);
        CHECK(fsetxattr(one, name, value, (size_t)i * 100, 0) == 0);
    }
    CHECK(linux_copy_extended_attributes(one, two) == 0 && linux_copy_attributes(one, two) == 0);
    char names[8192];
    CHECK(flistxattr(two, names, sizeof names) == flistxattr(one, NULL, 0));
    CHECK(linux_exchange(one, ".", two, ".") < 0 && linux_exchange(AT_FDCWD, "/run/one", AT_FDCWD, "/run/two") == 0);
    struct linux_protection protection = linux_clear_protection(AT_FDCWD, "/run/one");
    linux_restore_protection(protection);
    linux_restore_protection(linux_clear_protection(AT_FDCWD, "/run/none"));
    uint64_t permitted;
    int is_effective;
    CHECK(linux_file_capabilities("/run/one", &permitted, &is_effective) == 0 && permitted == 0);
    // Sizes and versions of capabilities(7) that there are, and such as there are not.
    close(open("/run/file", O_CREAT | O_WRONLY, 0755));
    for (uint32_t version = 0; version < 5; version++) {
        for (size_t size = 0; size <= 32; size += 4) {
            uint32_t value[8] = {version << 24 | 1, 1, 0, 2, 0, 0, 0, 0};
            if (setxattr("/run/file", "security.capability", value, size, 0) != 0) continue;
            (void)linux_file_capabilities("/run/file", &permitted, &is_effective);
        }
    }
    for (size_t size = 0; size < 70000; size = size * 3 + 1) {
        char *bytes = calloc(1, size + !size);
        int file = linux_sealed_file("x", bytes, size);
        CHECK(file >= 0 && lseek(file, 0, SEEK_END) == (off_t)size && write(file, "x", 1) < 0);
        close(file);
        free(bytes);
    }
    uint8_t key[FSCRYPT_KEY_IDENTIFIER_SIZE] = {0};
    struct fscrypt_policy_v2 policy = {.version = 2};
    CHECK(linux_set_encryption_policy(one, &policy) < 0 && linux_get_encryption_policy(one, &policy) < 0);
    CHECK(linux_add_encryption_key(one, key, sizeof key, key) < 0);
    CHECK(linux_remove_encryption_key(one, key) < 0 && linux_encryption_key_status(one, key) < 0);
    linux_wipe(key, sizeof key);
    close(one);
    close(two);
}

static void processes(void) {
    for (int room = 0; room < 4; room++) {
        gid_t *groups = malloc((size_t)room * sizeof *groups + !room);
        (void)linux_getgrouplist("root", 0, groups, room);
        free(groups);
    }
    uint64_t sets[3];
    CHECK(linux_capget(sets, sets + 1, sets + 2) == 0 && linux_capset(sets[0], sets[1], sets[2]) == 0);
    int *words = linux_shared_words(-1);
    CHECK(words != NULL && words[0] == 0 && words[1] == 0);
    for (int code = -2; code < 200; code++) {
        (void)linux_errno_name(code), (void)linux_signal_name(code);
        (void)linux_wait_exited(code * 97), (void)linux_wait_signaled(code);
    }
    CHECK(linux_contains(NULL, 0, "x") == 0 && linux_contains("axb", 3, "xb") == 1);
    CHECK(linux_contains("axb", 2, "xb") == 0 && linux_argument_count() == 1);
    CHECK(linux_arguments()[1] == NULL && linux_environ() == environ);
    CHECK(linux_print("", 0) == 0 && linux_makedev(linux_major(2049), linux_minor(2049)) == 2049);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int events = linux_signalfd(&signals);
    CHECK(events >= 0 && linux_next_signal(events) == 0 && raise(SIGUSR1) == 0);
    CHECK(linux_next_signal(events) == SIGUSR1);
    close(events);
    linux_occupy_standard_descriptors();
    linux_raise_descriptor_limit();
    linux_restore_descriptor_limit();
    linux_release_code();
}

static volatile uint64_t word = 0x1122334455667788;

static void wait_for(pid_t child, int *status) {
    int found;
    while ((found = linux_trace_wait(status)) == 0) usleep(1000);
    CHECK(found == child);
}

static void tracing(void) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        for (;;) getppid();
    }
    int status;
    uint64_t mask, value;
    struct linux_registers registers;
    struct linux_traced_call call;
    CHECK(linux_trace_seize(child) == 0 && linux_trace_interrupt(child) == 0);
    wait_for(child, &status);
    CHECK(linux_trace_registers(child, &registers) == 0 && linux_registers_stack(&registers) != 0);
    CHECK(linux_trace_block_signals(child, &mask) == 0 && linux_trace_set_signals(child, mask) == 0);
    CHECK(linux_trace_peek(child, (uint64_t)(uintptr_t)&word, &value) == 0 && value == word);
    CHECK(linux_trace_poke(child, (uint64_t)(uintptr_t)&word, ~word) == 0);
    CHECK(linux_trace_peek(child, (uint64_t)(uintptr_t)&word, &value) == 0 && value == ~word);
    CHECK(linux_trace_peek(child, 8, &value) < 0 && linux_trace_poke(child, 8, 0) < 0);
    CHECK(linux_trace_message(child, &value) == 0);
    CHECK(linux_trace_resume_to_call(child) == 0);
    wait_for(child, &status);
    CHECK(linux_trace_call(child, &call) == 0 && (call.place == 1 || call.place == 2));
    CHECK(linux_trace_registers(child, &registers) == 0);
    linux_registers_restart_call(&registers);
    const uint64_t arguments[6] = {1, 2, 3, 4, 5, 6};
    struct linux_registers other = registers;
    linux_registers_make_call(&other, linux_registers_instruction(&other), 39, arguments);
    CHECK(linux_trace_set_registers(child, &registers) == 0);
    CHECK(linux_trace_break(child, linux_registers_instruction(&registers)) == 0);
    CHECK(linux_trace_break(child, 0) == 0 && linux_trace_break(child, UINT64_MAX) < 0);
    CHECK(linux_is_thread_of(child, child) == 1 && linux_is_thread_of(1, child) == 0);
    CHECK(linux_trace_detach(child, 0) == 0 && linux_signal_thread(child, child, SIGKILL) == 0);
    CHECK(waitpid(child, &status, 0) == child && linux_trace_seize(child) < 0);
}

int main(void) {
    CHECK(unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    CHECK(mount("none", "/run", "tmpfs", 0, "mode=755") == 0 && chdir("/run") == 0);
    packets();
    reports();
    mounts();
    attributes();
    processes();
    tracing();
    return 0;
}
