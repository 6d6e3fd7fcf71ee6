/*
 * environment: the Kerberos library set up for this process alone: nothing of the machine's
 * krb5.conf, plug-ins, caches or keytabs, and no environment variable, has a say.
 *
 * The profile is a text in a sealed memfd that KRB5_CONFIG points to, so that the GSSAPI library,
 * which makes contexts of its own for every token, sees the same. AES only (RFC 3962, RFC 8009): no
 * RC4, no DES, also not for tickets to the mail server.
 */
#ifndef EASGATE_KERBEROS_ENVIRONMENT_H
#define EASGATE_KERBEROS_ENVIRONMENT_H

#include <krb5/krb5.h>

#include "common/base.h"

/*
 * Once, before the first call into the library. `realm` was checked by krb_name_parse(). Returns
 * the memfd, which must stay open as long as the library is used, or -errno.
 */
MUST_CHECK int environment_enter(const char *realm);
/* Undoes it: for tests and an end without leaks. */
void environment_leave(int fd);

/*
 * The bytes of a keytab file into a MEMORY keytab of this context. 0 and *out (krb5_kt_close()
 * frees and wipes it), or a krb5 code: KRB5_KT_END where it holds no entry. Nothing touches a disk;
 * the passing copy is wiped.
 */
MUST_CHECK krb5_error_code environment_keytab(
    krb5_context context, struct strv bytes, krb5_keytab *out);
/* True when it holds an AES key for the principal. */
bool environment_keytab_serves(
    krb5_context context, krb5_keytab keytab, krb5_const_principal principal);

#endif
