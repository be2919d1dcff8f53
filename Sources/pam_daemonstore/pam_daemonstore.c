// pam_daemonstore.so: a login opens the user's vault, a logout closes it, and a change of password
// changes the vault's too. The work is done by `cryptohome pam`: cryptohomed starts it, and where that
// does not run, this file does. It carries the password there, and the messages back to the user.
//
//   cryptohome=PATH   the program, where it is not in its usual place
//   all-services      also in those of the list below
//
// Nothing in here refuses a login, or grants one.
#define _GNU_SOURCE
#include "work.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
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

enum { KEPT_SIZE = CONTROL_LONGEST_PASSWORD + 2 };

static const char kept_password[] = "pam_daemonstore_password";
static const char kept_session[] = "pam_daemonstore_session";

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

/// Keeps the password until the session is opened, or pam_end(3): out of swap and of core dumps. Of one
/// that is too long, so much that it is seen to be.
static void keep_password(pam_handle_t *pamh, const char *password) {
    size_t size = strnlen(password, KEPT_SIZE - 1);
    char *copy =
        mmap(NULL, KEPT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) return;
    // Where that is refused, the password is as safe as the copies that libpam makes.
    (void)mlock(copy, KEPT_SIZE);
    (void)madvise(copy, KEPT_SIZE, MADV_DONTDUMP);
    memcpy(copy, password, size);  // a zero byte is behind it
    if (pam_set_data(pamh, kept_password, copy, wipe) != PAM_SUCCESS) wipe(pamh, copy, 0);
}

static void forget_password(pam_handle_t *pamh) {
    (void)pam_set_data(pamh, kept_password, NULL, NULL);  // wipes what was there
}

static const char *password_kept(const pam_handle_t *pamh) {
    const void *password = NULL;
    return pam_get_data(pamh, kept_password, &password) == PAM_SUCCESS ? password : NULL;
}

// ---- The work ----------------------------------------------------------------------------------

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

/// What is said of a password that the vault cannot be opened with, or given.
static void tell_problem(pam_handle_t *pamh, const struct options *options, const char *verb,
                         const char *problem) {
    char line[256];
    snprintf(line, sizeof line, "your daemon-store vault %s: %s",
             strcmp(verb, CONTROL_OPEN) == 0 ? "stays locked" : "keeps its password", problem);
    tell(pamh, options, 1, line);
}

/// 0 when all was done; what was not has been told then.
static int run(pam_handle_t *pamh, const struct options *options, const struct work *asked) {
    struct work work = *asked;
    const char *const none[] = {NULL, NULL};
    const char *problem = NULL;
    for (size_t i = 0; i < work.line_count && problem == NULL; i++) {
        if (work.lines[i] != NULL) problem = password_problem(work.lines[i]);
    }
    // Without a password: a user without a vault is told nothing, and a session is a session.
    if (problem != NULL) work.lines = none;
    char answer[LONGEST_ANSWER] = "";
    int status = -1;
    if (!run_by_service(&work, &status, answer)) {
        status = run_by_helper(options->cryptohome, &work, answer);
    }
    if (problem != NULL && status == 1) {
        tell_problem(pamh, options, work.verb, problem);
        return status;
    }
    tell(pamh, options, status != 0, answer);
    if (status < 0) {
        char complaint[] =
            "your daemon-store vault: cryptohome could not be run; see the system's log";
        pam_syslog(pamh, LOG_ERR, "%s pam %s did not run to its end, or not in %d seconds",
                   options->cryptohome, work.verb, CONTROL_TIME_TO_ANSWER / 1000);
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

/// A session, from its opening to its end.
struct session {
    // The process that opens a session stays until it ends: login(1), the monitor of sshd(8), the
    // worker of a display manager. Its children have the number, when one of them closes the session.
    pid_t leader;
    // Tells it from the other sessions of the same leader.
    char id[17];
};

static void free_session(pam_handle_t *pamh, void *data, int status) {
    (void)pamh, (void)status;
    free(data);
}

int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv) {
    struct options options;
    int serves = read_options(pamh, &options, flags, argc, argv);
    const char *user = user_of(pamh);
    if (!serves || user == NULL) return PAM_SUCCESS;
    uint64_t number = 0;
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL || getrandom(&number, sizeof number, 0) != sizeof number) {
        free(session);
        return PAM_SUCCESS;
    }
    session->leader = getpid();
    snprintf(session->id, sizeof session->id, "%016llx", (unsigned long long)number);
    const char *const lines[] = {password_kept(pamh)};
    const struct work work = {CONTROL_OPEN, session->id, user, lines, lines[0] != NULL, session->leader};
    (void)run(pamh, &options, &work);
    forget_password(pamh);
    if (pam_set_data(pamh, kept_session, session, free_session) != PAM_SUCCESS) free(session);
    return PAM_SUCCESS;
}

int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv) {
    struct options options;
    int serves = read_options(pamh, &options, flags, argc, argv);
    const char *user = user_of(pamh);
    if (!serves || user == NULL) return PAM_SUCCESS;
    const void *kept = NULL;
    // Opened through another handle: any one session of this process.
    const struct session here = {getpid(), ""};
    if (pam_get_data(pamh, kept_session, &kept) != PAM_SUCCESS || kept == NULL) kept = &here;
    const struct session *session = kept;
    const char *id = session->id[0] == '\0' ? CONTROL_ANY_SESSION : session->id;
    const struct work work = {CONTROL_CLOSE, id, user, NULL, 0, session->leader};
    // The leader has ended, and its session with it.
    const struct work without_leader = {CONTROL_LOCK_ENDED, NULL, user, NULL, 0, 0};
    int is_there = syscall(SYS_kill, session->leader, 0) == 0;
    (void)run(pamh, &options, is_there ? &work : &without_leader);
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
    const char *const lines[] = {old != NULL ? old : password_kept(pamh), new};
    // An expired password is changed between auth and the session.
    const struct work work = {CONTROL_CHANGE, NULL, user, lines, 2, 0};
    if (run(pamh, &options, &work) == 0 && password_kept(pamh) != NULL) {
        keep_password(pamh, new);
    }
    return PAM_IGNORE;
}
