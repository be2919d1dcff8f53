// How `cryptohome pam` comes to run for a login: started by cryptohomed, or by the process that logs
// the user in.
#pragma once
#include "../CDaemonStoreLinux/include/control.h"

#include <stddef.h>
#include <sys/types.h>

enum { LONGEST_ANSWER = CONTROL_LONGEST_ANSWER };
_Static_assert(CONTROL_LONGEST_PASSWORD == 4096, "password_problem() says so");

/// What is asked of `cryptohome pam`.
struct work {
    const char *verb;
    const char *session;  // NULL for a verb without one
    const char *user;     // NULL for all
    const char *const *lines;
    size_t line_count;
    pid_t leader;  // 0 for a verb without one
};

/// What is wrong with a password, as it is said to the user; NULL when nothing is.
const char *password_problem(const char *password);

/// Has cryptohomed do the work. 0 when it has not taken the request: then nothing was done. Else the
/// status, -1 when it has ended meanwhile or has not answered in time, and the answer are in place.
int run_by_service(const struct work *work, int *status, char *answer);

/// Starts the program from this process, and waits for its end, for CONTROL_TIME_TO_ANSWER at most. Its
/// status, or -1 when it did not run to its end.
int run_by_helper(const char *program, const struct work *work, char *answer);
