/*
 * guard_fault.c - faults in the driver, seen before any handler: an access to pool that is freed or behind a block is
 * Verifier's bugcheck, and the driver's reads and writes of CR8, with which KeGetCurrentIrql and KeRaiseIrql are
 * inlined, get and set the thread's IRQL.
 */
#include "guard.h"

#define VIOLATION 0xC0000005u
#define PRIVILEGED 0xC0000096u
#define CONTINUE_EXECUTION (-1)
#define CONTINUE_SEARCH 0
#define REX 0xF0u
#define REX_VALUE 0x40u
#define REX_B 1
#define REX_R 4
#define FROM_CR 0x20
#define TO_CR 0x22

typedef PVOID NTAPI ADD_HANDLER(ULONG First, PVOID Handler);
typedef ULONG NTAPI REMOVE_HANDLER(PVOID Handle);

static PVOID Handle;

static DWORD64 *Register(CONTEXT *Context, ULONG Number) {
    DWORD64 *const registers[16] = {&Context->Rax, &Context->Rcx, &Context->Rdx, &Context->Rbx,
                                    &Context->Rsp, &Context->Rbp, &Context->Rsi, &Context->Rdi,
                                    &Context->R8,  &Context->R9,  &Context->R10, &Context->R11,
                                    &Context->R12, &Context->R13, &Context->R14, &Context->R15};
    return registers[Number];
}

/* mov reg, cr8 and mov cr8, reg: REX.R, 0F, 20 or 22, ModRM with reg 0 and mod 3 (Intel SDM, volume 2, MOV). */
static BOOLEAN MoveCr8(CONTEXT *Context) {
    const UCHAR *code = (const UCHAR *)Context->Rip;

    if ((code[0] & REX) != REX_VALUE || !(code[0] & REX_R) || code[1] != 0x0F ||
        (code[2] != FROM_CR && code[2] != TO_CR) || (code[3] & 0xF8) != 0xC0) {
        return FALSE;
    }
    DWORD64 *value = Register(Context, (code[3] & 7) + (code[0] & REX_B ? 8 : 0));
    GUARD_THREAD *thread = GuardThread(code[2] == TO_CR && *value != PASSIVE_LEVEL);
    if (code[2] == FROM_CR) {
        *value = thread ? thread->Irql : PASSIVE_LEVEL;
    } else if (thread) {
        thread->Irql = (KIRQL)(*value & 15);
        GuardIdle(thread);
    }
    Context->Rip += 4;
    return TRUE;
}

static LONG NTAPI Handler(EXCEPTION_POINTERS *Pointers) {
    const EXCEPTION_RECORD *record = Pointers->ExceptionRecord;
    CONTEXT *context = Pointers->ContextRecord;

    if (record->ExceptionCode == (NTSTATUS)PRIVILEGED && GuardInImage(context->Rip) && MoveCr8(context)) {
        return CONTINUE_EXECUTION;
    }
    if (record->ExceptionCode == (NTSTATUS)VIOLATION && record->NumberParameters == 2 && GuardOn) {
        ULONG_PTR access = record->ExceptionInformation[0];
        ULONG_PTR touched = record->ExceptionInformation[1];
        switch (GuardPageOf(touched)) {
            case GuardPageFreed:
                GuardPoolDescribe(touched);
                GuardViolationAt(context, "pool accessed after it was freed", FAULT_IN_FREED_POOL, touched, access,
                                 context->Rip);
            case GuardPageBeyond:
                GuardPoolDescribe(touched);
                GuardViolationAt(context, "access beyond the end of a pool block", FAULT_BEYOND_POOL, touched, access,
                                 context->Rip);
            default:
                break;
        }
    }
    return CONTINUE_SEARCH;
}

VOID GuardFaultsBegin(VOID) {
    ADD_HANDLER *add = (ADD_HANDLER *)GuardExport("ntdll.dll", "RtlAddVectoredExceptionHandler");

    Handle = add ? add(1, (PVOID)Handler) : NULL;
}

VOID GuardFaultsEnd(VOID) {
    REMOVE_HANDLER *remove = (REMOVE_HANDLER *)GuardExport("ntdll.dll", "RtlRemoveVectoredExceptionHandler");

    if (Handle && remove) {
        remove(Handle);
    }
    Handle = NULL;
}
