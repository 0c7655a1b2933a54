/* What -fstack-protector calls, which is clang's /GS. A driver that asks for it ends as one built with the WDK does: by the
   fast-fail FAST_FAIL_STACK_COOKIE_CHECK_FAILURE, bugcheck 0x139 with parameter 2. A guest without dumps shows no stack,
   so the line names the function, by where it would go on. The cookie is a constant: it finds overruns, it keeps nobody
   out. https://learn.microsoft.com/cpp/intrinsics/fastfail */
unsigned long DbgPrint(const char *format, ...);

void *__stack_chk_guard = (void *)0x00002B992DDFA232;

__declspec(noreturn) void __stack_chk_fail(void) {
    DbgPrint("winvm: stack cookie overwritten before %p\n", __builtin_return_address(0));
    __asm__ volatile("int $0x29" : : "c"(2));
    __builtin_unreachable();
}
