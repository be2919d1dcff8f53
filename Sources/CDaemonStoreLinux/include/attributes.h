#pragma once
#include <sys/types.h>

/// Gives the empty directory `to` the owner, mode, extended attributes, flags and project of `from`.
/// Both are open for reading.
int linux_copy_attributes(int from, int to);
/// Gives one file all extended attributes of another: flistxattr(2), fsetxattr(2).
int linux_copy_extended_attributes(int from, int to);
/// renameat2(2) with RENAME_EXCHANGE: both names exist, and each gets the other's file.
int linux_exchange(int one_directory, const char *_Nonnull one, int other_directory,
                   const char *_Nonnull other);
/// NS_GET_USERNS and NS_GET_OWNER_UID (ioctl_ns(2)): who has made the user namespace that owns this
/// namespace. EPERM: it is not below our own.
int linux_namespace_owner(int file, uid_t *_Nonnull user);
/// NS_GET_PARENT and NS_GET_OWNER_UID (ioctl_ns(2)): who has made the outermost of the user namespaces that
/// this one is in and that are below our own. Users with other ids in it are all that user's. 0 where there is none.
int linux_user_namespace_maker(int file, uid_t *_Nonnull user);
/// The same of the user namespace that owns this namespace.
int linux_namespace_maker(int file, uid_t *_Nonnull user);
/// pidfd_send_signal(2), Linux 5.1.
int linux_signal(int pidfd, int number);
