/*
 * names: which accounts nobody may ask for, by name alone. Pure.
 * The last of several fences: the directory's voucher comes before it, the groups in the ticket's
 * PAC behind it.
 */
#ifndef EASGATE_KERBEROS_NAMES_H
#define EASGATE_KERBEROS_NAMES_H

#include "common/base.h"

/* "NAME@REALM" taken apart; each at most ACCOUNT_NAME_MAX with its terminator. */
struct krb_name {
	char name[128];
	char realm[128];
};

/*
 * Exactly one '@'. The realm: letters, digits, '.', '-', '_', since it also goes into the library's
 * profile; the name: no character that AD forbids in sAMAccountName (MS-SAMR 3.1.1.6), but
 * "HTTP/host" is let through. 0 or -1.
 */
MUST_CHECK int krb_name_parse(struct krb_name *out, const char *text);

/*
 * NULL: may be asked for. Else why not, as a static sentence. `own` is the proxy's own principal:
 * nobody asks for that, and only its realm is served. Compared without regard to ASCII case, as AD
 * does.
 */
const char *krb_name_refused(const char *sam, const char *realm, const struct krb_name *own);

#endif
