/* operator delete[] with a size: calls the driver's own without one. */
extern void _ZdaPv(void *memory);

void _ZdaPvy(void *memory, unsigned long long size) {
    (void)size;
    _ZdaPv(memory);
}
