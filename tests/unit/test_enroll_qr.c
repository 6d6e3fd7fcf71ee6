/*
 * test_enroll_qr: the SVG of a QR code, turned back into modules. `test_enroll_qr write DIR TEXT` writes DIR/code.svg for
 * tests/e2e/test_enroll_delivery.py, which reads it with another program.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <libxml/parser.h>
#include <qrencode.h>
#include <stdio.h>
#include <stdlib.h>

#include "enroll/worker/qr.h"

#define SIDE_MAX 200

struct modules {
	int side;
	bool dark[SIDE_MAX][SIDE_MAX];
};

static int number(const char **at)
{
	char *end;
	long n = strtol(*at, &end, 10);

	assert_true(end != *at && n >= 0 && n < SIDE_MAX);
	*at = end;
	return (int)n;
}

/* The last path: runs "Mx yhnv1h-nz". */
static void draw(struct modules *m, const char *svg)
{
	const char *at = strstr(svg, "viewBox=\"0 0 ") + 13;

	memset(m, 0, sizeof(*m));
	m->side = number(&at);
	at = strstr(svg, "fill=\"#000\" d=\"");
	assert_non_null(at);
	for (at += 15; *at == 'M';) {
		int x, y, n;

		at++;
		x = number(&at);
		at++;
		y = number(&at);
		assert_int_equal(*at, 'h');
		at++;
		n = number(&at);
		for (int i = 0; i < n; i++)
			m->dark[y][x + i] = true;
		at = strchr(at, 'z') + 1;
	}
	assert_int_equal(*at, '"');
}

static char *svg_of(const char *text, const char *title)
{
	struct buffer b;
	char *svg;

	buffer_init(&b, QR_SVG_MAX);
	assert_int_equal(qr_svg(text, title, &b), 0);
	svg = strndup(buffer_data(&b), buffer_len(&b));
	assert_non_null(svg);
	buffer_clear(&b);
	return svg;
}

static void test_the_picture_is_the_code_with_its_quiet_zone(void **state UNUSED)
{
	static const char text[] = "https://enroll.example.com/d/K7QM2XRA9PPP";
	char *svg = svg_of(text, "Code for your phone");
	QRcode *code = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_M);
	static struct modules m;

	draw(&m, svg);
	assert_int_equal(m.side, code->width + 8);
	for (int y = 0; y < m.side; y++)
		for (int x = 0; x < m.side; x++) {
			bool inside = x >= 4 && y >= 4 && x < m.side - 4 && y < m.side - 4;

			assert_int_equal(m.dark[y][x], inside ? code->data[(y - 4) * code->width + x - 4] & 1 : 0);
		}
	QRcode_free(code);
	free(svg);
}

static void test_screen_readers_hear_the_title_and_nothing_in_it_is_markup(void **state UNUSED)
{
	char *svg = svg_of("x", "Alice's <script>alert(1)</script> & \"phone\"");
	xmlDocPtr doc = xmlReadMemory(svg, (int)strlen(svg), "code.svg", NULL, XML_PARSE_NONET);
	xmlNodePtr root;
	xmlChar *text;

	assert_non_null(doc);
	root = xmlDocGetRootElement(doc);
	text = xmlGetProp(root, (const xmlChar *)"role");
	assert_string_equal((const char *)text, "img");
	xmlFree(text);
	assert_string_equal((const char *)root->children->name, "title");
	text = xmlNodeGetContent(root->children);
	assert_string_equal((const char *)text, "Alice's <script>alert(1)</script> & \"phone\"");
	xmlFree(text);
	xmlFreeDoc(doc);
	free(svg);
}

static void test_what_no_camera_would_read_is_refused(void **state UNUSED)
{
	char text[QR_TEXT_MAX + 2];
	struct buffer b;

	buffer_init(&b, QR_SVG_MAX);
	memset(text, 'a', sizeof(text));
	text[QR_TEXT_MAX + 1] = '\0';
	assert_int_equal(qr_svg(text, "t", &b), -1);
	assert_int_equal(qr_svg("", "t", &b), -1);
	assert_int_equal(qr_svg("x", "", &b), -1);
	assert_int_equal(qr_svg("a\nb", "t", &b), -1);
	assert_int_equal(qr_svg("https://x/\xc3\xa4", "t", &b), -1);
	assert_int_equal(qr_svg("x", "\xff", &b), -1);
	assert_int_equal(buffer_len(&b), 0);
	text[QR_TEXT_MAX] = '\0';
	assert_int_equal(qr_svg(text, "t", &b), 0);
	buffer_clear(&b);
}

static int write_sample(const char *dir, const char *text)
{
	char path[4096], *svg = svg_of(text, "sample");
	FILE *f;

	snprintf(path, sizeof(path), "%s/code.svg", dir);
	f = fopen(path, "w");
	if (f == NULL || fputs(svg, f) < 0 || fclose(f) != 0)
		return 1;
	free(svg);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_picture_is_the_code_with_its_quiet_zone),
		cmocka_unit_test(test_screen_readers_hear_the_title_and_nothing_in_it_is_markup),
		cmocka_unit_test(test_what_no_camera_would_read_is_refused),
	};

	if (argc == 4 && strcmp(argv[1], "write") == 0)
		return write_sample(argv[2], argv[3]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
