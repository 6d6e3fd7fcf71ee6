/*
 * folder: reads and writes the CA's files. Runs in the signer before it is confined, and in commands; never follows a link at a path's end.
 */
#include "enroll/signer/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int check_file(int fd, const char *path, bool secret, size_t *size, struct refusal *r)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return refuse(r, SIGNER_BROKEN, "%s: not a plain file", path);
	if (secret && (st.st_mode & 077) != 0)
		return refuse(r, SIGNER_BROKEN, "%s: others may read it (mode %03o): chmod 600 it",
		    path, (unsigned)st.st_mode & 0777);
	if (secret && st.st_uid != 0 && st.st_uid != geteuid())
		return refuse(r, SIGNER_BROKEN, "%s: belongs to user %u: chown it to root", path,
		    (unsigned)st.st_uid);
	if (st.st_size > (off_t)FOLDER_FILE_MAX)
		return refuse(r, SIGNER_BROKEN, "%s: larger than %u bytes", path, FOLDER_FILE_MAX);
	*size = (size_t)st.st_size;
	return 0;
}

static int read_all(int fd, char *out, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t got = read(fd, out + done, n - done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -1;
		done += (size_t)got;
	}
	return 0;
}

char *folder_read(const char *path, bool secret, size_t *n, struct refusal *r)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char *out = NULL;

	*n = 0;
	if (fd < 0) {
		refuse(r, SIGNER_BROKEN, "%s: %s", path, strerror(errno));
		return NULL;
	}
	if (check_file(fd, path, secret, n, r) == 0) {
		out = calloc(1, *n + 1);
		if (out == NULL || read_all(fd, out, *n) < 0) {
			refuse(r, SIGNER_BROKEN, "%s: cannot read it: %s", path, strerror(errno));
			free(out);
			out = NULL;
		}
	}
	close(fd);
	return out;
}

static int sync_folder(const char *path)
{
	char copy[PATH_MAX];
	int fd, rc;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	rc = fsync(fd);
	close(fd);
	return rc;
}

static int write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t put = write(fd, p, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return -1;
		p += put;
		n -= (size_t)put;
	}
	return fsync(fd);
}

int folder_write(const char *path, const void *bytes, size_t n, mode_t mode, struct refusal *r)
{
	char tmp[PATH_MAX];
	int fd, rc;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.tmp", path) >= sizeof(tmp))
		return refuse(r, SIGNER_BROKEN, "%s: the name is too long", path);
	if (unlink(tmp) < 0 && errno != ENOENT)
		return refuse(r, SIGNER_BROKEN, "%s: %s", tmp, strerror(errno));
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return refuse(r, SIGNER_BROKEN, "%s: %s", tmp, strerror(errno));
	rc = fchmod(fd, mode) < 0 ? -1 : write_all(fd, bytes, n);
	if (close(fd) < 0)
		rc = -1;
	if (rc < 0 || rename(tmp, path) < 0 || sync_folder(path) < 0) {
		refuse(r, SIGNER_BROKEN, "%s: cannot write it: %s", path, strerror(errno));
		unlink(tmp);
		return -1;
	}
	return 0;
}

int folder_check(const char *path, struct refusal *r)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return refuse(r, SIGNER_BROKEN, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return refuse(r, SIGNER_BROKEN, "%s: not a folder", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return refuse(r, SIGNER_BROKEN, "%s: belongs to user %u, who could put another CA there: chown it to root", path, (unsigned)st.st_uid);
	if ((st.st_mode & 022) != 0)
		return refuse(r, SIGNER_BROKEN, "%s: others may write into it (mode %03o): chmod 700 it", path, (unsigned)st.st_mode & 0777);
	return 0;
}

int folder_make(const char *path, struct refusal *r)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return refuse(r, SIGNER_BROKEN, "%s: cannot make this folder: %s%s", path, strerror(errno),
		    errno == ENOENT  ? ": make the one above it first (state_dir)" :
			errno == EACCES ? ": run this as root" :
					  "");
	return folder_check(path, r);
}

char *folder_secret(const char *path, struct refusal *r)
{
	size_t n;
	char *text = folder_read(path, true, &n, r);

	if (text == NULL)
		return NULL;
	text[strcspn(text, "\r\n")] = '\0';
	if (text[0] == '\0') {
		refuse(r, SIGNER_BROKEN, "%s: the first line is empty", path);
		free(text);
		return NULL;
	}
	return text;
}
