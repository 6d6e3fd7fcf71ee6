/*
 * crl_file: makes the private DER copy of a CRL file. Knows nothing of what is in it. Runs in the revocation process.
 */
#include "proxy/revocation/crl_file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/revocation/crl.h"

#define BLOCK	  65536u
#define TEXT_MAX  (1u << 20)		/* what may stand in front of the BEGIN line: "openssl crl -text" prints there */
#define BEGIN	  "-----BEGIN X509 CRL-----"
#define END	  "-----END X509 CRL-----"
#define SCRATCH	  "crl.scratch"

struct copy {
	int out;
	uint64_t written;
	EVP_MD_CTX *sum;
	EVP_ENCODE_CTX *base64;
	enum { FIRST, DER, PEM_TEXT, PEM_BODY, PEM_DONE } state;
	size_t held;			/* of a PEM line */
	char line[256];
	uint64_t skipped;
};

static int scratch_open(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	/* Not every file system has nameless files. */
	fd = openat(dir_fd, SCRATCH, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	unlinkat(dir_fd, SCRATCH, 0);
	return fd;
}

static int put(struct copy *c, const void *bytes, size_t n)
{
	const char *p = bytes;
	ssize_t done;

	c->written += n;
	if (c->written > CRL_BYTES_MAX)
		return -EFBIG;
	if (!EVP_DigestUpdate(c->sum, bytes, n))
		return -ENOMEM;
	while (n > 0) {
		done = write(c->out, p, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

/* One line of a PEM file, without its end. */
static int take_line(struct copy *c)
{
	unsigned char out[sizeof(c->line)];
	struct strv line = { c->line, c->held };
	int n = 0;

	while (line.n > 0 && (line.p[line.n - 1] == '\r' || line.p[line.n - 1] == ' '))
		line.n--;
	c->held = 0;
	if (c->state == PEM_TEXT) {
		if (strv_eq(line, STRV(BEGIN))) {
			c->state = PEM_BODY;
			EVP_DecodeInit(c->base64);
		}
		return 0;
	}
	if (strv_eq(line, STRV(END))) {
		c->state = PEM_DONE;
		if (EVP_DecodeFinal(c->base64, out, &n) < 0)
			return -EBADMSG;
		return put(c, out, (size_t)n);
	}
	if (EVP_DecodeUpdate(c->base64, out, &n, (const unsigned char *)line.p, (int)line.n) < 0)
		return -EBADMSG;
	return put(c, out, (size_t)n);
}

static int take_pem(struct copy *c, const char *p, size_t n)
{
	size_t i;
	int rc;

	for (i = 0; i < n && c->state != PEM_DONE; i++) {
		if (c->state == PEM_TEXT && ++c->skipped > TEXT_MAX)
			return -EBADMSG;
		if (p[i] == '\n') {
			rc = take_line(c);
			if (rc < 0)
				return rc;
		} else if (c->held < sizeof(c->line)) {
			c->line[c->held++] = p[i];
		} else if (c->state == PEM_BODY) {
			return -EBADMSG;	/* RFC 7468: 64 characters */
		}
	}
	return 0;
}

static int take_block(struct copy *c, const char *p, size_t n)
{
	if (c->state == FIRST)
		c->state = p[0] == 0x30 ? DER : PEM_TEXT;
	return c->state == DER ? put(c, p, n) : take_pem(c, p, n);
}

static int copy_all(struct copy *c, int fd, char *block)
{
	ssize_t n;
	int rc = 0;

	while (rc == 0) {
		n = read(fd, block, BLOCK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		rc = take_block(c, block, (size_t)n);
	}
	/* The END line may be the file's last without a line end. */
	if (rc == 0 && c->state == PEM_BODY && c->held > 0)
		rc = take_line(c);
	if (rc == 0 && (c->written == 0 || (c->state != DER && c->state != PEM_DONE)))
		rc = -EBADMSG;
	return rc;
}

int crl_file_read(int fd, int scratch_dir_fd, struct crl_file *out)
{
	struct copy c = { .out = scratch_open(scratch_dir_fd), .state = FIRST };
	struct crl_file f = { 0 };
	char *block = malloc(BLOCK);
	int rc = c.out < 0 ? c.out : -ENOMEM;
	void *p;

	c.sum = EVP_MD_CTX_new();
	c.base64 = EVP_ENCODE_CTX_new();
	if (c.out < 0 || block == NULL || c.sum == NULL || c.base64 == NULL ||
	    !EVP_DigestInit_ex(c.sum, EVP_sha256(), NULL))
		goto out;
	rc = copy_all(&c, fd, block);
	if (rc < 0)
		goto out;
	rc = -ENOMEM;
	if (!EVP_DigestFinal_ex(c.sum, f.sha256, NULL))
		goto out;
	p = mmap(NULL, c.written, PROT_READ, MAP_PRIVATE, c.out, 0);
	if (p == MAP_FAILED)
		goto out;
	f.der = (struct strv){ p, c.written };
	*out = f;
	rc = 0;
out:
	EVP_ENCODE_CTX_free(c.base64);
	EVP_MD_CTX_free(c.sum);
	free(block);
	if (c.out >= 0)
		close(c.out);
	return rc;
}

void crl_file_clear(struct crl_file *f)
{
	union { const char *in; void *out; } p = { f->der.p };

	if (f->der.p != NULL)
		munmap(p.out, f->der.n);
	memset(f, 0, sizeof(*f));
}
