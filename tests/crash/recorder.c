/* Records what a process does to the files of one folder, for rebuilding the disk as a power cut may have left it.
 *
 * LD_PRELOAD it; RECORD_FOLDER names the folder, RECORD_LOG a file elsewhere. Every call is made and logged under one
 * lock, so that the log's order is the order in which the kernel saw the calls. What is written to a file called
 * "marks" in the folder goes into the log as a mark, and is how the process says how far it got.
 *
 *     ┌ u8 op ┌ u32 file ┌ u64 offset or size ┌ u32 length ┌ bytes (data, or a path)      little-endian
 *     O bind a name to a file (it may have been there), C create, W write, T size, S sync, D directory synced,
 *     U unlink, R rename (old \0 new), M mark
 *
 * SQLite's -shm files are left out: they are shared memory, written through mmap, and SQLite makes them anew after a
 * crash (sqlite.org/walformat.html, "The WAL-Index File Format").
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FDS = 4096, FILES = 65536, NONE = 0, FOLDER = -1, MARKS = -2 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int of_fd[FDS];              /* fd -> file number, FOLDER, MARKS or NONE */
static struct { dev_t dev; ino_t ino; int live; } files[FILES];
static int file_count = 1;
static int log_fd = -1;
static char folder[4096];
static size_t folder_length;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void die(const char *why) { fprintf(stderr, "recorder: %s\n", why); _exit(97); }

static void put(char op, uint32_t file, uint64_t at, const void *data, uint32_t length) {
    unsigned char head[17];
    head[0] = (unsigned char)op;
    memcpy(head + 1, &file, 4); memcpy(head + 5, &at, 8); memcpy(head + 13, &length, 4);
    struct iovec parts[2] = {{head, sizeof head}, {(void *)data, length}};
    if (writev(log_fd, parts, 2) != (ssize_t)(sizeof head + length)) die("the log takes nothing");
}

__attribute__((constructor)) static void begin(void) {
    const char *where = getenv("RECORD_FOLDER"), *log = getenv("RECORD_LOG");
    if (!where || !log || !realpath(where, folder)) return;
    folder_length = strlen(folder);
    log_fd = REAL(open64)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) die("no log");
}

/* The name within the folder, "" for the folder itself, NULL for what is not ours. */
static const char *ours(const char *path) {
    static char full[8192];
    if (log_fd < 0 || !path) return NULL;
    if (path[0] != '/') {
        char here[4096];
        if (!getcwd(here, sizeof here)) return NULL;
        snprintf(full, sizeof full, "%s/%s", here, path);
        path = full;
    }
    if (strncmp(path, folder, folder_length)) return NULL;
    if (!path[folder_length]) return "";
    if (path[folder_length] != '/') return NULL;
    path += folder_length + 1;
    size_t length = strlen(path);
    if (length >= 4 && !strcmp(path + length - 4, "-shm")) return NULL;
    return path;
}

static int file_of(const struct stat *about) {
    for (int i = file_count - 1; i > 0; i--)
        if (files[i].live && files[i].dev == about->st_dev && files[i].ino == about->st_ino) return i;
    return NONE;
}

static int file_new(const struct stat *about) {
    if (file_count == FILES) die("too many files");
    files[file_count].dev = about->st_dev; files[file_count].ino = about->st_ino; files[file_count].live = 1;
    return file_count++;
}

static int opened(const char *path, int flags, int fd, int existed) {
    const char *name = ours(path);
    if (fd < 0 || fd >= FDS || !name) return fd;
    if (!*name) { of_fd[fd] = FOLDER; return fd; }
    if (!strcmp(name, "marks")) { of_fd[fd] = MARKS; return fd; }
    struct stat about;
    if (fstat(fd, &about)) die("fstat");
    int file = existed ? file_of(&about) : NONE;
    if (!file) {
        file = file_new(&about);
        put(existed ? 'O' : 'C', (uint32_t)file, 0, name, (uint32_t)strlen(name));
    }
    if (existed && (flags & O_TRUNC)) put('T', (uint32_t)file, 0, "", 0);
    of_fd[fd] = file;
    return fd;
}

static int existed(const char *path) { struct stat about; return !stat(path, &about); }

#define OPEN(name)                                                                     \
    int name(const char *path, int flags, ...) {                                       \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        pthread_mutex_lock(&lock);                                                     \
        int was = existed(path), fd = REAL(name)(path, flags, mode), e = errno;        \
        opened(path, flags, fd, was);                                                  \
        pthread_mutex_unlock(&lock);                                                   \
        errno = e;                                                                     \
        return fd;                                                                     \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                   \
    int name(int at, const char *path, int flags, ...) {                               \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        if (at != AT_FDCWD && path[0] != '/') return REAL(name)(at, path, flags, mode); \
        pthread_mutex_lock(&lock);                                                     \
        int was = existed(path), fd = REAL(name)(at, path, flags, mode), e = errno;    \
        opened(path, flags, fd, was);                                                  \
        pthread_mutex_unlock(&lock);                                                   \
        errno = e;                                                                     \
        return fd;                                                                     \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    pthread_mutex_lock(&lock);
    if (fd >= 0 && fd < FDS) of_fd[fd] = NONE;
    int done = REAL(close)(fd), e = errno;
    pthread_mutex_unlock(&lock);
    errno = e;
    return done;
}

static int known(int fd) { return fd >= 0 && fd < FDS && log_fd >= 0 ? of_fd[fd] : NONE; }

static void wrote(int fd, const void *data, ssize_t length, off64_t at) {
    int file = known(fd);
    if (file == NONE || file == FOLDER || length < 0) return;
    if (file == MARKS) put('M', 0, 0, data, (uint32_t)length);
    else put('W', (uint32_t)file, (uint64_t)at, data, (uint32_t)length);
}

#define PWRITE(name, off)                                                              \
    ssize_t name(int fd, const void *data, size_t length, off at) {                    \
        pthread_mutex_lock(&lock);                                                     \
        ssize_t done = REAL(name)(fd, data, length, at); int e = errno;                \
        wrote(fd, data, done, at);                                                     \
        pthread_mutex_unlock(&lock);                                                   \
        errno = e;                                                                     \
        return done;                                                                   \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t length) {
    if (known(fd) == NONE) return REAL(write)(fd, data, length);
    pthread_mutex_lock(&lock);
    ssize_t done = REAL(write)(fd, data, length); int e = errno;
    wrote(fd, data, done, done > 0 ? lseek64(fd, 0, SEEK_CUR) - done : 0);
    pthread_mutex_unlock(&lock);
    errno = e;
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (known(fd) != NONE) die("writev is not recorded");
    return REAL(writev)(fd, parts, count);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    if (known(fd) != NONE) die("pwritev is not recorded");
    return REAL(pwritev)(fd, parts, count, at);
}

#define SIZE(name, off)                                                                \
    int name(int fd, off size) {                                                       \
        pthread_mutex_lock(&lock);                                                     \
        int done = REAL(name)(fd, size), e = errno, file = known(fd);                  \
        if (!done && file > 0) put('T', (uint32_t)file, (uint64_t)size, "", 0);        \
        pthread_mutex_unlock(&lock);                                                   \
        errno = e;                                                                     \
        return done;                                                                   \
    }
SIZE(ftruncate, off_t)
SIZE(ftruncate64, off64_t)

int fallocate64(int fd, int mode, off64_t at, off64_t length) {
    if (known(fd) != NONE) die("fallocate is not recorded");
    return REAL(fallocate64)(fd, mode, at, length);
}

#define SYNC(name)                                                                     \
    int name(int fd) {                                                                 \
        pthread_mutex_lock(&lock);                                                     \
        int done = REAL(name)(fd), e = errno, file = known(fd);                        \
        if (!done && file == FOLDER) put('D', 0, 0, "", 0);                            \
        if (!done && file > 0) put('S', (uint32_t)file, 0, "", 0);                     \
        pthread_mutex_unlock(&lock);                                                   \
        errno = e;                                                                     \
        return done;                                                                   \
    }
SYNC(fsync)
SYNC(fdatasync)

int unlink(const char *path) {
    pthread_mutex_lock(&lock);
    struct stat about;
    const char *name = ours(path);
    int was = name && !stat(path, &about) ? file_of(&about) : NONE;
    int done = REAL(unlink)(path), e = errno;
    if (!done && name) {
        if (was) files[was].live = 0;
        put('U', 0, 0, name, (uint32_t)strlen(name));
    }
    pthread_mutex_unlock(&lock);
    errno = e;
    return done;
}

int rename(const char *from, const char *to) {
    pthread_mutex_lock(&lock);
    char both[8192];
    const char *name = ours(from);
    size_t length = 0;
    if (name) {
        length = strlen(name) + 1;
        memcpy(both, name, length);
        name = ours(to);
        if (!name) die("a rename out of the folder");
        memcpy(both + length, name, strlen(name));
        length += strlen(name);
    }
    int done = REAL(rename)(from, to), e = errno;
    if (!done && length) put('R', 0, 0, both, (uint32_t)length);
    pthread_mutex_unlock(&lock);
    errno = e;
    return done;
}
