/*
 * apple_plist: property lists with values from the directory, checked on their way in and wiped on their way out.
 * Knows nothing of profiles. Runs in the worker of easenroll.
 */
#include "enroll/worker/apple_plist.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <openssl/crypto.h>

#include "common/text.h"

void apple_refuse(struct apple_build *b, const char *fmt, ...)
{
	va_list ap;

	if (b->failed)
		return;
	b->failed = true;
	va_start(ap, fmt);
	vsnprintf(b->why, sizeof(b->why), fmt, ap);
	va_end(ap);
}

/* libplist escapes & < >; what XML cannot carry at all (control characters) it would write as it stands. */
static bool text_is_good(struct apple_build *b, const char *key, const char *value)
{
	struct strv text = strv_from(value);

	if (b->failed)
		return false;
	if (text.n == 0)
		apple_refuse(b, "%s: empty; a text is expected", key);
	else if (text.n > APPLE_TEXT_MAX)
		apple_refuse(b, "%s: %zu bytes; at most %d are expected", key, text.n, APPLE_TEXT_MAX);
	else if (!text_is_clean(text))
		apple_refuse(b, "%s: control characters or malformed UTF-8; plain text is expected", key);
	return !b->failed;
}

void apple_text(struct apple_build *b, plist_t dict, const char *key, const char *value)
{
	if (text_is_good(b, key, value))
		plist_dict_set_item(dict, key, plist_new_string(value));
}

void apple_optional(struct apple_build *b, plist_t dict, const char *key, const char *value)
{
	if (value != NULL && *value != '\0')
		apple_text(b, dict, key, value);
}

static bool url_is_good(const char *url)
{
	struct strv text = strv_from(url), host;
	size_t skip = text_starts_nocase(text, STRV("https://")) ? 8 :
	    text_starts_nocase(text, STRV("http://"))		 ? 7 : 0;

	if (skip == 0)
		return false;
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] <= ' ' || text.p[i] >= 0x7f || strchr("\"'<>\\`{}|^", text.p[i]) != NULL)
			return false;
	host = (struct strv){ text.p + skip, strcspn(text.p + skip, "/?#") };
	return host.n > 0 && memchr(host.p, '@', host.n) == NULL && host.p[0] != ':';
}

void apple_url(struct apple_build *b, plist_t dict, const char *key, const char *value)
{
	if (!text_is_good(b, key, value))
		return;
	if (url_is_good(value))
		plist_dict_set_item(dict, key, plist_new_string(value));
	else
		apple_refuse(b, "%s: not a URL; http:// or https://, a host and a path are expected", key);
}

void apple_bytes(struct apple_build *b, plist_t dict, const char *key, struct strv value)
{
	if (b->failed)
		return;
	if (value.n == 0 || value.n > APPLE_BYTES_MAX)
		apple_refuse(b, "%s: %zu bytes; 1 to %d are expected", key, value.n, APPLE_BYTES_MAX);
	else
		plist_dict_set_item(dict, key, plist_new_data(value.p, value.n));
}

void apple_bool(struct apple_build *b, plist_t dict, const char *key, bool value)
{
	if (!b->failed)
		plist_dict_set_item(dict, key, plist_new_bool(value));
}

void apple_number(struct apple_build *b, plist_t dict, const char *key, uint32_t value)
{
	if (!b->failed)
		plist_dict_set_item(dict, key, plist_new_uint(value));
}

void apple_child(struct apple_build *b, plist_t dict, const char *key, plist_t child)
{
	if (b->failed)
		apple_forget(child);
	else
		plist_dict_set_item(dict, key, child);
}

void apple_subject(struct apple_build *b, plist_t array, const char *key, const char *value)
{
	plist_t pair, name;

	if (!text_is_good(b, key, value))
		return;
	pair = plist_new_array();
	plist_array_append_item(pair, plist_new_string(key));
	plist_array_append_item(pair, plist_new_string(value));
	name = plist_new_array();
	plist_array_append_item(name, pair);
	plist_array_append_item(array, name);
}

int apple_xml(struct apple_build *b, plist_t root, struct buffer *out)
{
	uint32_t n = 0;
	char *xml = NULL;

	if (b->failed)
		return -1;
	plist_to_xml(root, &xml, &n);
	if (xml == NULL || n == 0)
		apple_refuse(b, "the property list could not be written: out of memory");
	else if (buffer_add(out, xml, n) < 0)
		apple_refuse(b, "the property list has %u bytes and does not fit", (unsigned)n);
	if (xml != NULL) {
		OPENSSL_cleanse(xml, n);
#ifdef LIBPLIST_MEM_FREE
		plist_mem_free(xml);
#else
		plist_to_xml_free(xml);
#endif
	}
	return b->failed ? -1 : 0;
}

/* The list is ours alone; libplist only hands its memory out as read-only. */
static void wipe(const char *p, uint64_t n)
{
	if (p != NULL && n > 0)
		OPENSSL_cleanse((void *)(uintptr_t)p, (size_t)n);
}

static void wipe_dict(plist_t dict);

static void wipe_node(plist_t node)
{
	uint64_t n = 0;

	switch (plist_get_node_type(node)) {
	case PLIST_STRING:
		/* the length is not always given; the text ends with its zero byte */
		wipe(plist_get_string_ptr(node, NULL), strlen(plist_get_string_ptr(node, NULL)));
		break;
	case PLIST_DATA: {
		const char *p = plist_get_data_ptr(node, &n);

		wipe(p, n);
		break;
	}
	case PLIST_ARRAY:
		for (uint32_t i = 0; i < plist_array_get_size(node); i++)
			wipe_node(plist_array_get_item(node, i));
		break;
	case PLIST_DICT:
		wipe_dict(node);
		break;
	default:
		break;
	}
}

static void wipe_dict(plist_t dict)
{
	plist_dict_iter iter = NULL;
	plist_t value = NULL;

	plist_dict_new_iter(dict, &iter);
	for (;;) {
		plist_dict_next_item(dict, iter, NULL, &value);
		if (value == NULL)
			break;
		wipe_node(value);
	}
	free(iter);
}

void apple_forget(plist_t root)
{
	if (root == NULL)
		return;
	wipe_node(root);
	plist_free(root);
}
