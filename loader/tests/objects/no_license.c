/* Neither a licence nor anything else beside the program. */
#include "defs.h"

SEC("socket")
int alone(void *ctx)
{
	return -1;
}
