/*
 * bundle: files by name in a sealed memfd, built by the master and read by one process.
 * Form: magic, then entries { name length, data length, name, data }, to the end. Nothing of a file stays in the builder's memory.
 */
#include "common/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC	 "easgate bundle 1"
#define NAME_MAX_LEN 4096
#define SEALS	 (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

struct entry_head {
	uint32_t name_n, data_n;
};

struct disk_file {
	struct disk_file *next;
	char *path;
	char *data;
	size_t n;
};

struct bundle {
	char *map;		/* NULL: from disk */
	size_t n;
	struct disk_file *files;
};

static int write_all(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		ssize_t w = write(fd, at, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return -1;
		at += w;
		n -= (size_t)w;
	}
	return 0;
}

/* The whole of `from` to `to`, at most `max` bytes. Returns the length or -1 with errno. */
static long copy_file(int to, int from, size_t max)
{
	char block[16384];
	size_t total = 0;
	long rc = -1;

	for (;;) {
		ssize_t n = read(from, block, sizeof(block));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		if (n == 0) {
			rc = (long)total;
			break;
		}
		total += (size_t)n;
		if (total > max) {
			errno = EFBIG;
			break;
		}
		if (write_all(to, block, (size_t)n) < 0)
			break;
	}
	OPENSSL_cleanse(block, sizeof(block));
	return rc;
}

static const char *cure(int error)
{
	switch (error) {
	case ENOENT:
		return "create it, or correct the path in the configuration";
	case EACCES:
	case EPERM:
		return "let the user that starts the program read it";
	case EISDIR:
		return "name a file, not a directory";
	case EINVAL:
		return "name a plain file, not a device, pipe or socket";
	case EFBIG:
		return "it is larger than the 64 MiB that are allowed";
	default:
		return "see the reason";
	}
}

static int add_file(int fd, const char *path, char *why, size_t why_size)
{
	struct entry_head head = { .name_n = (uint32_t)strlen(path) };
	off_t at = lseek(fd, 0, SEEK_CUR);
	long n = -1;
	int error, from = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);	/* a FIFO must not hold the master */
	struct stat st;

	if (from < 0)
		goto failed;
	if (fstat(from, &st) < 0)
		goto failed;
	if (!S_ISREG(st.st_mode)) {
		errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
		goto failed;
	}
	if (write_all(fd, &head, sizeof(head)) < 0 || write_all(fd, path, head.name_n) < 0)
		goto failed;
	n = copy_file(fd, from, BUNDLE_MAX);
	if (n < 0)
		goto failed;
	head.data_n = (uint32_t)n;
	if (pwrite(fd, &head, sizeof(head), at) != (ssize_t)sizeof(head))
		goto failed;
	close(from);
	return 0;
failed:
	error = errno;
	snprintf(why, why_size, "%s: %s: %s", path, strerror(error), cure(error));
	if (from >= 0)
		close(from);
	return -1;
}

static bool seen_before(const char *const *paths, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		if (paths[k] != NULL && strcmp(paths[k], paths[i]) == 0)
			return true;
	}
	return false;
}

int bundle_build_with(const char *const *paths, size_t n, const char *name, struct strv contents, char *why, size_t why_size)
{
	int fd = memfd_create("easgate-bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || write_all(fd, MAGIC, sizeof(MAGIC)) < 0)
		goto failed;
	for (size_t i = 0; i < n; i++) {
		if (paths[i] == NULL || paths[i][0] == '\0' || seen_before(paths, i))
			continue;
		if (add_file(fd, paths[i], why, why_size) < 0) {
			close(fd);
			return -1;
		}
	}
	if (name != NULL) {
		struct entry_head head = { (uint32_t)strlen(name), (uint32_t)contents.n };
		if (write_all(fd, &head, sizeof(head)) < 0 || write_all(fd, name, head.name_n) < 0 ||
		    write_all(fd, contents.p, contents.n) < 0)
			goto failed;
	}
	if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		goto failed;
	return fd;
failed:
	snprintf(why, why_size, "cannot hand files to a process: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

int bundle_build(const char *const *paths, size_t n, char *why, size_t why_size)
{
	return bundle_build_with(paths, n, NULL, (struct strv){ NULL, 0 }, why, why_size);
}

/* Steps over one entry; false at the end or where lengths do not fit (*bad tells which). */
static bool next_entry(const struct bundle *b, size_t *at, struct strv *name, struct strv *data, bool *bad)
{
	struct entry_head head;

	*bad = false;
	if (*at == b->n)
		return false;
	*bad = true;
	if (b->n - *at < sizeof(head))
		return false;
	memcpy(&head, b->map + *at, sizeof(head));
	*at += sizeof(head);
	if (head.name_n > NAME_MAX_LEN || head.name_n > b->n - *at)
		return false;
	*name = (struct strv){ b->map + *at, head.name_n };
	*at += head.name_n;
	if (head.data_n > b->n - *at)
		return false;
	*data = (struct strv){ b->map + *at, head.data_n };
	*at += head.data_n;
	*bad = false;
	return true;
}

struct bundle *bundle_open(int fd)
{
	struct bundle *b = calloc(1, sizeof(*b));
	struct strv name, data;
	struct stat st;
	size_t at = sizeof(MAGIC);
	bool bad;

	if (b == NULL || fstat(fd, &st) < 0)
		goto failed;
	if ((fcntl(fd, F_GET_SEALS) & SEALS) != SEALS || (size_t)st.st_size < sizeof(MAGIC)) {
		errno = EINVAL;
		goto failed;
	}
	b->n = (size_t)st.st_size;
	b->map = mmap(NULL, b->n, PROT_READ, MAP_PRIVATE, fd, 0);
	if (b->map == MAP_FAILED) {
		b->map = NULL;
		goto failed;
	}
	while (next_entry(b, &at, &name, &data, &bad))
		;
	if (bad || memcmp(b->map, MAGIC, sizeof(MAGIC)) != 0) {
		errno = EINVAL;
		goto failed;
	}
	close(fd);
	return b;
failed:
	close(fd);
	bundle_free(b);
	return NULL;
}

struct bundle *bundle_from_disk(void)
{
	return calloc(1, sizeof(struct bundle));
}

void bundle_free(struct bundle *b)
{
	if (b == NULL)
		return;
	if (b->map != NULL)
		munmap(b->map, b->n);
	while (b->files != NULL) {
		struct disk_file *f = b->files;
		b->files = f->next;
		if (f->data != NULL)
			OPENSSL_cleanse(f->data, f->n);
		free(f->data);
		free(f->path);
		free(f);
	}
	free(b);
}

static int read_disk(struct disk_file *f, int fd)
{
	struct stat st;
	size_t at = 0;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t)BUNDLE_MAX)
		return -1;
	f->n = (size_t)st.st_size;
	f->data = malloc(f->n + 1);
	if (f->data == NULL)
		return -1;
	while (at < f->n) {
		ssize_t n = read(fd, f->data + at, f->n - at);
		if (n <= 0)
			return -1;
		at += (size_t)n;
	}
	return 0;
}

static struct disk_file *from_disk(struct bundle *b, const char *path)
{
	struct disk_file *f;
	int fd;

	for (f = b->files; f != NULL; f = f->next) {
		if (strcmp(f->path, path) == 0)
			return f;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return NULL;
	f = calloc(1, sizeof(*f));
	if (f == NULL || (f->path = strdup(path)) == NULL || read_disk(f, fd) < 0) {
		if (f != NULL) {
			free(f->data);
			free(f->path);
		}
		free(f);
		close(fd);
		return NULL;
	}
	close(fd);
	f->next = b->files;
	b->files = f;
	return f;
}

bool bundle_get(struct bundle *b, const char *path, struct strv *out)
{
	struct strv name, data, wanted = strv_from(path);
	size_t at = sizeof(MAGIC);
	bool bad;

	if (b->map == NULL) {
		struct disk_file *f = path != NULL && path[0] != '\0' ? from_disk(b, path) : NULL;
		if (f != NULL)
			*out = (struct strv){ f->data, f->n };
		return f != NULL;
	}
	while (next_entry(b, &at, &name, &data, &bad)) {
		if (strv_eq(name, wanted)) {
			*out = data;
			return true;
		}
	}
	return false;
}

bool bundle_get_secret(struct bundle *b, const char *path, struct strv *out)
{
	struct strv all;
	size_t n = 0;

	if (!bundle_get(b, path, &all))
		return false;
	while (n < all.n && all.p[n] != '\n' && all.p[n] != '\r')
		n++;
	*out = (struct strv){ all.p, n };
	return n > 0;
}
