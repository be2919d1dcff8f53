// fscrypt: the ioctls of <linux/fscrypt.h>. No logic.
#pragma once
#include <linux/fscrypt.h>
#include <stddef.h>
#include <stdint.h>

// Every function takes a descriptor that is open for reading, and returns -1 and sets errno on
// failure.

/// FS_IOC_SET_ENCRYPTION_POLICY, Linux 5.4 for this version of the policy. On an empty directory;
/// the same again succeeds.
int linux_set_encryption_policy(int directory, const struct fscrypt_policy_v2 *_Nonnull policy);
/// FS_IOC_GET_ENCRYPTION_POLICY_EX, Linux 5.4. `version` tells whether the rest is filled in.
int linux_get_encryption_policy(int directory, struct fscrypt_policy_v2 *_Nonnull out);
/// FS_IOC_ADD_ENCRYPTION_KEY: the kernel writes the key's identifier.
int linux_add_encryption_key(int directory, const void *_Nonnull key, size_t size,
                             uint8_t identifier[_Nonnull FSCRYPT_KEY_IDENTIFIER_SIZE]);
/// FS_IOC_REMOVE_ENCRYPTION_KEY_ALL_USERS.
int linux_remove_encryption_key(int directory,
                                const uint8_t identifier[_Nonnull FSCRYPT_KEY_IDENTIFIER_SIZE]);
/// FS_IOC_GET_ENCRYPTION_KEY_STATUS: one of FSCRYPT_KEY_STATUS_….
int linux_encryption_key_status(int directory,
                                const uint8_t identifier[_Nonnull FSCRYPT_KEY_IDENTIFIER_SIZE]);

/// explicit_bzero(3).
void linux_wipe(void *_Nonnull memory, size_t size);
