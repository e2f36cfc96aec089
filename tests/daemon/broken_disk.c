/*
 * A disk that fails, put under a program by LD_PRELOAD. While the file that BROKEN_DISK names exists, the calls that it
 * names, as "flush", "write" or "read", fail with EIO for every file whose name begins with usage.db.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_ledger(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    const char *name = strrchr(path, '/');
    return name && strncmp(name + 1, "usage.db", 8) == 0;
}

static int fails(const char *call, int fd) {
    const char *orders = getenv("BROKEN_DISK");
    char text[64] = "";
    int file = orders ? open(orders, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0 || !strstr(text, call) || !is_ledger(fd))
        return 0;
    errno = EIO;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { return fails("flush", fd) ? -1 : NEXT(fsync)(fd); }
int fdatasync(int fd) { return fails("flush", fd) ? -1 : NEXT(fdatasync)(fd); }
ssize_t write(int fd, const void *data, size_t size) { return fails("write", fd) ? -1 : NEXT(write)(fd, data, size); }

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return fails("write", fd) ? -1 : NEXT(pwrite)(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return fails("write", fd) ? -1 : NEXT(pwrite64)(fd, data, size, at);
}

ssize_t pread(int fd, void *data, size_t size, off_t at) {
    return fails("read", fd) ? -1 : NEXT(pread)(fd, data, size, at);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    return fails("read", fd) ? -1 : NEXT(pread64)(fd, data, size, at);
}
