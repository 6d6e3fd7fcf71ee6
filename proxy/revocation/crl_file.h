/*
 * crl_file: the bytes of a CRL file as DER, in a private copy: whoever changes or cuts the operator's file while it is read
 * changes nothing here. PEM ("X509 CRL") is decoded on the way. Nothing of a large list is on the heap.
 */
#ifndef EASGATE_REVOCATION_CRL_FILE_H
#define EASGATE_REVOCATION_CRL_FILE_H

#include "common/base.h"

struct crl_file {
	struct strv der;		/* mapped; valid until crl_file_clear() */
	uint8_t sha256[SHA256_SIZE];	/* of the DER bytes */
};

/*
 * Reads fd (borrowed, from where it stands) through a nameless file in scratch_dir_fd. 0, or -errno: EFBIG over CRL_BYTES_MAX,
 * EBADMSG neither DER nor PEM.
 */
MUST_CHECK int crl_file_read(int fd, int scratch_dir_fd, struct crl_file *out);
void crl_file_clear(struct crl_file *f);

#endif
