/*
 * crl_build: one CRL, slice by slice: measure, hash, sign, write, rename. Runs in the signer; of the worker's file it believes neither order nor length.
 */
#include "enroll/signer/crl_build.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enroll/signer/crl_parts.h"

#define SLICE	      16384 /* entries: 512 KiB in, at most 1 MiB out */
#define SIGNATURE_MAX 1100  /* of an RSA key of 8192 bits, and what stands around it */

enum phase { MEASURE, HASH, WRITE };

struct crl_job {
	struct crl_order order;
	char in[PATH_MAX], out[PATH_MAX], tmp[PATH_MAX], delta_url[2048];
	int in_fd, out_fd;
	enum phase phase;
	uint64_t at; /* entries of this phase that are done */
	uint8_t last[SIGNER_SERIAL];
	size_t entries_n, phase_n; /* bytes of all entries; of those of this phase so far */
	uint8_t *head, *tail;
	size_t head_n, tail_n;
	uint8_t signature[SIGNATURE_MAX], tbs_hash[EVP_MAX_MD_SIZE];
	size_t signature_n;
	unsigned tbs_hash_n;
	EVP_MD_CTX *tbs, *file;
	struct signer_crl_done done;
	struct signer_crl_entry rows[SLICE];
	uint8_t bytes[SLICE * CRL_ENTRY_MAX];
};

static int check_question(const struct signer_crl *q, struct refusal *r)
{
	if (q->number == 0 || q->number > INT64_MAX || q->base_number >= q->number)
		return refuse(r, SIGNER_REFUSED, "CRLNumber %llu to base %llu",
		    (unsigned long long)q->number, (unsigned long long)q->base_number);
	if (q->next_update <= q->this_update)
		return refuse(r, SIGNER_REFUSED, "the CRL would end before it begins");
	if (q->entries > CRL_ENTRIES_MAX)
		return refuse(r, SIGNER_REFUSED, "more than %u entries", CRL_ENTRIES_MAX);
	return 0;
}

static int open_input(struct crl_job *j, struct refusal *r)
{
	struct stat st;

	j->in_fd = open(j->in, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (j->in_fd < 0 || fstat(j->in_fd, &st) < 0)
		return refuse(r, SIGNER_REFUSED, "%s: %s", j->in, strerror(errno));
	if (!S_ISREG(st.st_mode) ||
	    (uint64_t)st.st_size != j->order.question.entries * sizeof(struct signer_crl_entry))
		return refuse(r, SIGNER_REFUSED, "%s: does not hold %llu entries", j->in,
		    (unsigned long long)j->order.question.entries);
	return 0;
}

struct crl_job *crl_job_new(const struct crl_order *order, struct refusal *r)
{
	struct crl_job *j;

	if (check_question(&order->question, r) < 0)
		return NULL;
	j = calloc(1, sizeof(*j));
	if (j == NULL) {
		refuse(r, SIGNER_BROKEN, "out of memory");
		return NULL;
	}
	/* the job outlives the question's texts */
	j->order = *order;
	j->order.in = j->in;
	j->order.out = j->out;
	j->order.delta_url = order->delta_url != NULL ? j->delta_url : NULL;
	j->in_fd = j->out_fd = -1;
	j->tbs = EVP_MD_CTX_new();
	j->file = EVP_MD_CTX_new();
	if ((size_t)snprintf(j->in, sizeof(j->in), "%s", order->in) >= sizeof(j->in) ||
	    (size_t)snprintf(j->out, sizeof(j->out), "%s", order->out) >= sizeof(j->out) ||
	    (size_t)snprintf(j->tmp, sizeof(j->tmp), "%s.tmp", order->out) >= sizeof(j->tmp) ||
	    (size_t)snprintf(j->delta_url, sizeof(j->delta_url), "%s", order->delta_url != NULL ? order->delta_url : "") >= sizeof(j->delta_url) ||
	    j->tbs == NULL || j->file == NULL) {
		refuse(r, SIGNER_BROKEN, "out of memory, or a path too long");
		goto failed;
	}
	if (open_input(j, r) < 0)
		goto failed;
	return j;
failed:
	crl_job_free(j);
	return NULL;
}

void crl_job_free(struct crl_job *j)
{
	if (j == NULL)
		return;
	if (j->in_fd >= 0)
		close(j->in_fd);
	if (j->out_fd >= 0) {
		close(j->out_fd);
		unlink(j->tmp);
	}
	EVP_MD_CTX_free(j->tbs);
	EVP_MD_CTX_free(j->file);
	free(j->head);
	free(j->tail);
	free(j);
}

struct signer_crl_done crl_job_result(const struct crl_job *j) { return j->done; }

/* Reads a slice and encodes it into bytes. Returns their number, or -1. Serials ascend through the whole file, so that none stands there twice. */
static long encode_slice(struct crl_job *j, struct refusal *r)
{
	uint64_t left = j->order.question.entries - j->at;
	size_t rows = left < SLICE ? (size_t)left : SLICE, n = 0, want = rows * sizeof(j->rows[0]);
	ssize_t got = pread(j->in_fd, j->rows, want, (off_t)(j->at * sizeof(j->rows[0])));

	if (got < 0 || (size_t)got != want)
		return refuse(r, SIGNER_REFUSED, "%s: cannot be read to its end", j->in);
	for (size_t i = 0; i < rows; i++) {
		int len = crl_entry_write(
		    j->bytes + n, &j->rows[i], j->order.question.base_number != 0);

		if (len < 0)
			return refuse(r, SIGNER_REFUSED,
			    "entry %llu: a reason, time or serial that a CRL may not hold",
			    (unsigned long long)j->at + i);
		if (memcmp(j->rows[i].serial, j->last, SIGNER_SERIAL) <= 0)
			return refuse(r, SIGNER_REFUSED, "entry %llu: serials do not ascend",
			    (unsigned long long)j->at + i);
		memcpy(j->last, j->rows[i].serial, SIGNER_SERIAL);
		n += (size_t)len;
	}
	j->at += rows;
	j->phase_n += n;
	return (long)n;
}

static int put(struct crl_job *j, const void *bytes, size_t n, struct refusal *r)
{
	const char *p = bytes;
	size_t left = n;

	if (!EVP_DigestUpdate(j->file, bytes, n))
		return refuse_openssl(r, "cannot hash");
	while (left > 0) {
		ssize_t w = write(j->out_fd, p, left);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return refuse(r, SIGNER_BROKEN, "%s: %s", j->tmp, strerror(errno));
		p += w;
		left -= (size_t)w;
	}
	j->done.bytes += n;
	return 0;
}

static int hash_tbs(struct crl_job *j, const void *bytes, size_t n, struct refusal *r)
{
	return EVP_DigestUpdate(j->tbs, bytes, n) ? 0 : refuse_openssl(r, "cannot hash");
}

static void begin(struct crl_job *j, enum phase phase)
{
	j->phase = phase;
	j->at = 0;
	j->phase_n = 0;
	memset(j->last, 0, sizeof(j->last));
}

static int begin_hash(struct crl_job *j, struct refusal *r)
{
	j->entries_n = j->phase_n;
	if (crl_frame(&j->order, j->entries_n, &j->head, &j->head_n, &j->tail, &j->tail_n, r) < 0)
		return -1;
	begin(j, HASH);
	if (!EVP_DigestInit_ex(j->tbs, key_digest(j->order.issuer->pkey), NULL))
		return refuse_openssl(r, "cannot hash");
	return hash_tbs(j, j->head, j->head_n, r);
}

/* What stands behind the tbsCertList: algorithm and signature. */
static int sign(struct crl_job *j, struct refusal *r)
{
	EVP_PKEY *key = j->order.issuer->pkey;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	uint8_t value[SIGNATURE_MAX - 64], *algorithm;
	size_t n = sizeof(value), algorithm_n = 0, at;
	bool good;

	algorithm = key_algorithm(key, &algorithm_n);
	good = algorithm != NULL && algorithm_n < 32 && ctx != NULL &&
	    EVP_PKEY_sign_init(ctx) == 1 &&
	    EVP_PKEY_CTX_set_signature_md(ctx, key_digest(key)) == 1 &&
	    EVP_PKEY_sign(ctx, value, &n, j->tbs_hash, j->tbs_hash_n) == 1;
	if (good) {
		memcpy(j->signature, algorithm, algorithm_n);
		at = algorithm_n;
		at += der_head(j->signature + at, 0x03, n + 1);
		j->signature[at++] = 0; /* no unused bits */
		memcpy(j->signature + at, value, n);
		j->signature_n = at + n;
	}
	EVP_PKEY_CTX_free(ctx);
	free(algorithm);
	return good ? 0 : refuse_openssl(r, "the CA's key does not sign the CRL");
}

static int begin_write(struct crl_job *j, struct refusal *r)
{
	uint8_t whole[DER_HEAD_MAX];
	size_t n;

	if (j->phase_n != j->entries_n)
		return refuse(r, SIGNER_REFUSED, "%s: changed while it was read", j->in);
	if (hash_tbs(j, j->tail, j->tail_n, r) < 0 ||
	    !EVP_DigestFinal_ex(j->tbs, j->tbs_hash, &j->tbs_hash_n))
		return refuse_openssl(r, "cannot hash");
	if (sign(j, r) < 0)
		return -1;
	begin(j, WRITE);
	if (unlink(j->tmp) < 0 && errno != ENOENT)
		return refuse(r, SIGNER_BROKEN, "%s: %s", j->tmp, strerror(errno));
	j->out_fd = open(j->tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (j->out_fd < 0)
		return refuse(r, SIGNER_BROKEN, "%s: %s", j->tmp, strerror(errno));
	if (!EVP_DigestInit_ex(j->file, EVP_sha256(), NULL) ||
	    !EVP_DigestInit_ex(j->tbs, key_digest(j->order.issuer->pkey), NULL))
		return refuse_openssl(r, "cannot hash");
	n = der_head(whole, 0x30, j->head_n + j->entries_n + j->tail_n + j->signature_n);
	if (put(j, whole, n, r) < 0 || hash_tbs(j, j->head, j->head_n, r) < 0)
		return -1;
	return put(j, j->head, j->head_n, r);
}

/* The name, too: after a power cut the list before would stand there, and nobody would know that this one is gone. */
static int sync_folder(const char *path, struct refusal *r)
{
	char folder[PATH_MAX];
	int fd, rc = -1;

	snprintf(folder, sizeof(folder), "%s", path);
	fd = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		rc = fsync(fd);
	if (rc < 0)
		refuse(r, SIGNER_BROKEN, "%s: its folder cannot be synced: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc;
}

static int finish(struct crl_job *j, struct refusal *r)
{
	uint8_t again[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (put(j, j->tail, j->tail_n, r) < 0 || hash_tbs(j, j->tail, j->tail_n, r) < 0)
		return -1;
	/* what was written is what was signed */
	if (!EVP_DigestFinal_ex(j->tbs, again, &n) || n != j->tbs_hash_n ||
	    memcmp(again, j->tbs_hash, n) != 0)
		return refuse(r, SIGNER_REFUSED, "%s: changed while it was read", j->in);
	if (put(j, j->signature, j->signature_n, r) < 0)
		return -1;
	if (!EVP_DigestFinal_ex(j->file, j->done.sha256, &n))
		return refuse_openssl(r, "cannot hash");
	if (fsync(j->out_fd) < 0 || rename(j->tmp, j->out) < 0)
		return refuse(
		    r, SIGNER_BROKEN, "%s: cannot put it in place: %s", j->out, strerror(errno));
	close(j->out_fd);
	j->out_fd = -1;
	return sync_folder(j->out, r);
}

int crl_job_step(struct crl_job *j, struct refusal *r)
{
	long n;

	if (j->at < j->order.question.entries) {
		n = encode_slice(j, r);
		if (n < 0)
			return -1;
		if (j->phase != MEASURE && hash_tbs(j, j->bytes, (size_t)n, r) < 0)
			return -1;
		if (j->phase == WRITE && put(j, j->bytes, (size_t)n, r) < 0)
			return -1;
		if (j->phase ==
		    WRITE) /* starts it on its way, so that the fsync at the end has little left to wait for */
			(void)sync_file_range(j->out_fd, 0, 0, SYNC_FILE_RANGE_WRITE);
		return 1;
	}
	if (j->phase == MEASURE)
		return begin_hash(j, r) < 0 ? -1 : 1;
	if (j->phase == HASH)
		return begin_write(j, r) < 0 ? -1 : 1;
	return finish(j, r);
}
