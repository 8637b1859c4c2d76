#include "lab/lab.h"
#include "base/err.h"
int lab_start(struct net_loop *l, struct config *cfg, int fd, struct lab **lab_r)
{
	(void)l;
	(void)cfg;
	(void)fd;
	(void)lab_r;
	return -ERR_UNSUPPORTED;
}
void lab_stop(struct lab *lab)
{
	(void)lab;
}
void lab_free(struct lab **lab)
{
	(void)lab;
}
