// A module that takes the password, old and new, from the environment: an application may not set it.
#include <security/pam_modules.h>
#include <stdlib.h>

static int give(pam_handle_t *pamh) {
    const char *password = getenv("GIVEN");
    (void)pam_set_item(pamh, PAM_OLDAUTHTOK, password);
    return pam_set_item(pamh, PAM_AUTHTOK, password);
}

int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv) {
    (void)flags, (void)argc, (void)argv;
    return give(pamh);
}

int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv) {
    (void)pamh, (void)flags, (void)argc, (void)argv;
    return PAM_SUCCESS;
}

int pam_sm_chauthtok(pam_handle_t *pamh, int flags, int argc, const char **argv) {
    (void)flags, (void)argc, (void)argv;
    return give(pamh);
}
