#define _GNU_SOURCE
#include "encryption.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

int linux_set_encryption_policy(int directory, const struct fscrypt_policy_v2 *policy) {
    return ioctl(directory, FS_IOC_SET_ENCRYPTION_POLICY, policy);
}

int linux_get_encryption_policy(int directory, struct fscrypt_policy_v2 *out) {
    struct fscrypt_get_policy_ex_arg argument = {.policy_size = sizeof argument.policy};
    int result = ioctl(directory, FS_IOC_GET_ENCRYPTION_POLICY_EX, &argument);
    if (result == 0) *out = argument.policy.v2;
    return result;
}

static struct fscrypt_key_specifier specifier(const uint8_t *identifier) {
    struct fscrypt_key_specifier key = {.type = FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER};
    if (identifier) memcpy(key.u.identifier, identifier, sizeof key.u.identifier);
    return key;
}

int linux_add_encryption_key(int directory, const void *key, size_t size, uint8_t *identifier) {
    _Alignas(struct fscrypt_add_key_arg) uint8_t
        request[sizeof(struct fscrypt_add_key_arg) + FSCRYPT_MAX_KEY_SIZE];
    struct fscrypt_add_key_arg *argument = (void *)request;
    if (size > FSCRYPT_MAX_KEY_SIZE) {
        errno = EINVAL;
        return -1;
    }
    *argument = (struct fscrypt_add_key_arg){.key_spec = specifier(NULL),
                                             .raw_size = (uint32_t)size};
    memcpy(argument->raw, key, size);
    int result = ioctl(directory, FS_IOC_ADD_ENCRYPTION_KEY, argument);
    int code = errno;
    memcpy(identifier, argument->key_spec.u.identifier, FSCRYPT_KEY_IDENTIFIER_SIZE);
    explicit_bzero(request, sizeof request);
    errno = code;
    return result;
}

int linux_remove_encryption_key(int directory, const uint8_t *identifier) {
    struct fscrypt_remove_key_arg argument = {.key_spec = specifier(identifier)};
    return ioctl(directory, FS_IOC_REMOVE_ENCRYPTION_KEY_ALL_USERS, &argument);
}

int linux_encryption_key_status(int directory, const uint8_t *identifier) {
    struct fscrypt_get_key_status_arg argument = {.key_spec = specifier(identifier)};
    int result = ioctl(directory, FS_IOC_GET_ENCRYPTION_KEY_STATUS, &argument);
    return result == 0 ? (int)argument.status : result;
}

void linux_wipe(void *memory, size_t size) { explicit_bzero(memory, size); }
