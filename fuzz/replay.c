/*
 * fuzz/replay.c - runs files through a fuzz target, once each, without a fuzzer.
 *
 *     fuzz_NAME FILE-OR-DIRECTORY...
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"

#include "base/buf.h"
#include "base/file.h"

#include <dirent.h>
#include <sys/stat.h>

#define FILE_MAX (16 * 1024 * 1024)

static unsigned files;

static void run_file(const char *path)
{
	struct buf content;
	uint8_t *copy;
	size_t n;

	buf_init(&content, FILE_MAX);
	if (file_read(path, &content) < 0) {
		fprintf(stderr, "%s: cannot be read\n", path);
		exit(1);
	}
	/* a copy of exactly its size, so that a sanitizer sees one octet too many */
	n = buf_len(&content);
	copy = malloc(n ? n : 1);
	FUZZ_CHECK(copy != NULL);
	if (n)
		memcpy(copy, buf_span(&content).p, n);
	buf_done(&content);
	LLVMFuzzerTestOneInput(copy, n);
	free(copy);
	files++;
}

static int is_visible(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static void run_directory(const char *path)
{
	struct dirent **names;
	char file[4096];
	int n = scandir(path, &names, is_visible, alphasort);

	for (int i = 0; i < n; i++) {
		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		run_file(file);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct stat st;
		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
			run_directory(argv[i]);
		else
			run_file(argv[i]);
	}
	printf("%u files\n", files);
	return files == 0; /* a corpus that is not there is a mistake */
}
