/*
 * ota_plist: a strict reader of the flat property list that a device sends about itself. Pure; refuses what it does not know.
 * Runs in the worker of easenroll.
 */
#include "enroll/worker/ota_plist.h"

#include "common/text.h"

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_space(struct strv *in)
{
	while (in->n > 0 && is_space(in->p[0])) {
		in->p++;
		in->n--;
	}
}

static void eat(struct strv *in, size_t n)
{
	in->p += n;
	in->n -= n;
}

static bool take(struct strv *in, struct strv what)
{
	if (in->n < what.n || memcmp(in->p, what.p, what.n) != 0)
		return false;
	eat(in, what.n);
	return true;
}

/* Up to `end`, which is eaten too. */
static int take_until(struct strv *in, struct strv end, struct strv *inside)
{
	const char *at = in->n == 0 ? NULL : memmem(in->p, in->n, end.p, end.n);

	if (at == NULL)
		return -1;
	*inside = (struct strv){ in->p, (size_t)(at - in->p) };
	eat(in, inside->n + end.n);
	return 0;
}

/* <?xml ...?>, <!DOCTYPE plist ...> without a subset of its own, <plist version="1.0"> */
static int take_head(struct strv *in)
{
	struct strv inside;

	take(in, STRV("\xef\xbb\xbf"));
	skip_space(in);
	if (take(in, STRV("<?xml ")) && take_until(in, STRV("?>"), &inside) < 0)
		return -1;
	skip_space(in);
	if (take(in, STRV("<!DOCTYPE plist ")) &&
	    (take_until(in, STRV(">"), &inside) < 0 || memchr(inside.p, '[', inside.n) != NULL ||
		memchr(inside.p, '<', inside.n) != NULL))
		return -1;
	skip_space(in);
	if (!take(in, STRV("<plist version=\"1.0\">")) && !take(in, STRV("<plist>")))
		return -1;
	skip_space(in);
	return take(in, STRV("<dict>")) ? 0 : -1;
}

static int take_tail(struct strv *in)
{
	skip_space(in);
	if (!take(in, STRV("</plist>")))
		return -1;
	skip_space(in);
	return in->n == 0 ? 0 : -1;
}

/* <type>text</type>, or <type/>. */
static int take_value(struct strv *in, struct strv *type, struct strv *value)
{
	static const struct strv types[] = { STRV("string"), STRV("data"), STRV("integer"), STRV("date"), STRV("true"), STRV("false") };
	bool empty;

	if (!take(in, STRV("<")) || take_until(in, STRV(">"), type) < 0)
		return -1;
	empty = type->n > 0 && type->p[type->n - 1] == '/';
	if (empty)
		type->n--;
	*value = (struct strv){ NULL, 0 };
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (!strv_eq(*type, types[i]))
			continue;
		if (empty)
			return 0;
		if (i >= 4 || take_until(in, STRV("</"), value) < 0 || memchr(value->p, '<', value->n) != NULL)
			return -1;
		return take(in, types[i]) && take(in, STRV(">")) ? 0 : -1;
	}
	return -1;
}

int ota_plist_read(struct strv xml, ota_plist_fn *fn, void *arg)
{
	struct strv key, type, value;
	int r;

	if (take_head(&xml) < 0)
		return -1;
	for (unsigned n = 0; n <= OTA_PLIST_KEYS; n++) {
		skip_space(&xml);
		if (take(&xml, STRV("</dict>")))
			return take_tail(&xml);
		if (!take(&xml, STRV("<key>")) || take_until(&xml, STRV("</key>"), &key) < 0 || key.n == 0 ||
		    memchr(key.p, '<', key.n) != NULL)
			return -1;
		skip_space(&xml);
		if (n == OTA_PLIST_KEYS || take_value(&xml, &type, &value) < 0)
			return -1;
		r = fn(arg, key, type, value);
		if (r != 0)
			return r;
	}
	return -1;
}

/* &name; or &#number; of one ASCII character: others have no need of an entity. 0 if it is none of those. */
static char entity(struct strv name)
{
	static const struct {
		struct strv name;
		char c;
	} known[] = { { STRV("amp"), '&' }, { STRV("lt"), '<' }, { STRV("gt"), '>' }, { STRV("quot"), '"' }, { STRV("apos"), '\'' } };
	uint64_t number = 0;

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strv_eq(name, known[i].name))
			return known[i].c;
	if (name.n > 2 && name.p[0] == '#' && name.p[1] == 'x')
		return text_hex_u64((struct strv){ name.p + 2, name.n - 2 }, 0x7f, &number) == 0 ? (char)number : 0;
	if (name.n > 1 && name.p[0] == '#')
		return text_u64((struct strv){ name.p + 1, name.n - 1 }, 0x7f, &number) == 0 ? (char)number : 0;
	return 0;
}

int ota_plist_text(char *out, size_t size, struct strv value)
{
	size_t n = 0;

	if (value.n >= 8 * size)
		goto bad;
	while (value.n > 0) {
		struct strv name;
		char c = value.p[0];

		eat(&value, 1);
		if (c == '&' && (take_until(&value, STRV(";"), &name) < 0 || (c = entity(name)) == 0))
			goto bad;
		if (n + 1 >= size)
			goto bad;
		out[n++] = c;
	}
	out[n] = '\0';
	if (text_is_clean((struct strv){ out, n }))
		return 0;
bad:
	out[0] = '\0';
	return -1;
}
