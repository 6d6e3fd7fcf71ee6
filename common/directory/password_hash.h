/*
 * password_hash: crypt(3) hashes of passwords in the accounts' file. Pure; slow on purpose (some 50 ms).
 */
#ifndef EASGATE_DIRECTORY_PASSWORD_HASH_H
#define EASGATE_DIRECTORY_PASSWORD_HASH_H

#include "common/base.h"

#define PASSWORD_HASH_MAX 384

/* Is this a whole hash of a method that is good enough: yescrypt ($y$), gost-yescrypt ($gy$), sha512crypt ($6$), bcrypt ($2b$)? */
bool password_hash_is_good(const char *hash);
/*
 * Does the password (n bytes, 1 to 256, no zero byte) belong to the hash? Compared in constant time. hash NULL: nobody's; as
 * much work as for `like`, or as a new yescrypt hash where that is NULL too, and then false.
 */
bool password_hash_matches(const char *hash, const char *like, const char *password, size_t n);

#endif
