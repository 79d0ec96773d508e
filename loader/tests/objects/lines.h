/* Functions of a header, for lines.c. */
static inline_always u64 inlined_from_header(u64 x)
{
	u64 y = x * 7 + ktime_get_ns();

	return y ^ (y >> 9);
}

static noinline u64 from_header(u64 x)
{
	return x - ktime_get_ns();
}
