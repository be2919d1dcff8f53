#define _GNU_SOURCE
#include "attributes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef NS_GET_USERNS
#define NS_GET_USERNS _IO(0xb7, 1)
#endif
#ifndef NS_GET_PARENT
#define NS_GET_PARENT _IO(0xb7, 2)
#endif
#ifndef NS_GET_OWNER_UID
#define NS_GET_OWNER_UID _IO(0xb7, 4)
#endif

int linux_copy_extended_attributes(int from, int to) {
    ssize_t size = flistxattr(from, NULL, 0);
    if (size <= 0) return size == 0 || errno == EOPNOTSUPP ? 0 : -1;
    char *names = malloc((size_t)size), *value = malloc(XATTR_SIZE_MAX);
    int result = names && value ? 0 : -1;
    if (result == 0 && (size = flistxattr(from, names, (size_t)size)) < 0) result = -1;
    for (char *name = names; result == 0 && name < names + size; name += strlen(name) + 1) {
        ssize_t count = fgetxattr(from, name, value, XATTR_SIZE_MAX);
        if (count < 0) {
            if (errno != ENODATA) result = -1;
        } else if (fsetxattr(to, name, value, (size_t)count, 0) != 0) {
            result = -1;
        }
    }
    int code = errno;
    free(names);
    free(value);
    errno = code;
    return result;
}

int linux_copy_attributes(int from, int to) {
    struct stat status;
    if (fstat(from, &status) != 0) return -1;
    // The flags first: some can only be set while a directory is empty, and none are inherited here.
    int flags, mask = FS_COMPR_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL | FS_DIRSYNC_FL |
                      FS_TOPDIR_FL | FS_NOCOW_FL | FS_CASEFOLD_FL;
    if (ioctl(from, FS_IOC_GETFLAGS, &flags) == 0 && (flags & mask) != 0) {
        int own;
        if (ioctl(to, FS_IOC_GETFLAGS, &own) != 0) return -1;
        own = (own & ~mask) | (flags & mask);
        if (ioctl(to, FS_IOC_SETFLAGS, &own) != 0) return -1;
    }
    struct fsxattr project, own;
    if (ioctl(from, FS_IOC_FSGETXATTR, &project) == 0 && ioctl(to, FS_IOC_FSGETXATTR, &own) == 0 &&
        (own.fsx_projid != project.fsx_projid ||
         ((own.fsx_xflags ^ project.fsx_xflags) & FS_XFLAG_PROJINHERIT) != 0)) {
        own.fsx_projid = project.fsx_projid;
        own.fsx_xflags = (own.fsx_xflags & ~(unsigned)FS_XFLAG_PROJINHERIT) |
                         (project.fsx_xflags & FS_XFLAG_PROJINHERIT);
        if (ioctl(to, FS_IOC_FSSETXATTR, &own) != 0) return -1;
    }
    if (fchown(to, status.st_uid, status.st_gid) != 0) return -1;
    if (fchmod(to, status.st_mode & 07777) != 0) return -1;
    return linux_copy_extended_attributes(from, to);
}

int linux_exchange(int one_directory, const char *one, int other_directory, const char *other) {
    return renameat2(one_directory, one, other_directory, other, RENAME_EXCHANGE);
}

int linux_signal(int pidfd, int number) {
    return (int)syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0U);
}

int linux_namespace_owner(int file, uid_t *user) {
    int space = ioctl(file, NS_GET_USERNS);
    if (space < 0) return -1;
    int result = ioctl(space, NS_GET_OWNER_UID, user);
    int code = errno;
    close(space);
    errno = code;
    return result;
}

int linux_user_namespace_maker(int file, uid_t *user) {
    // Of a user namespace NS_GET_USERNS gives the one around it, as NS_GET_PARENT does.
    int isBelow = 0;
    int space = dup(file);
    while (space >= 0) {
        int around = ioctl(space, NS_GET_PARENT);
        if (around < 0) break;
        isBelow = ioctl(space, NS_GET_OWNER_UID, user) == 0;
        close(space);
        space = around;
    }
    if (space >= 0) close(space);
    return isBelow;
}

int linux_namespace_maker(int file, uid_t *user) {
    int space = ioctl(file, NS_GET_USERNS);
    if (space < 0) return 0;
    int result = linux_user_namespace_maker(space, user);
    close(space);
    return result;
}
