/*
 * hello.c - \Device\Winvm: reports the contract and the build of the loaded driver.
 */
#include "winvm.h"
#include "winvm_contract_hash.h"

#ifdef WINVM_FAULT
#define FAULT_BUILD 1
#else
#define FAULT_BUILD 0
#endif

static const WINVM_HELLO Answer = {
    sizeof(WINVM_HELLO), WINVM_CONTRACT_VERSION, FAULT_BUILD, 0, {WINVM_CONTRACT_HASH_BYTES},
};

static NTSTATUS Hello(_Inout_ WINVM_REQUEST *Request) {
    return WinvmGive(Request, &Answer, sizeof(Answer));
}

static const WINVM_CONTROL Controls[] = {
    WINVM_CONTROL_ROW(WINVM_IOCTL_WINVM_HELLO, FILE_ANY_ACCESS, Hello),
};

const WINVM_CLASS WinvmHelloClass = {
    .Name = "Winvm",
    .DeviceName = WINVM_DEVICE_NAME_WINVM,
    .LinkName = WINVM_LINK_NAME_WINVM,
    .IoFlags = DO_BUFFERED_IO,
    .Controls = Controls,
    .ControlCount = ARRAYSIZE(Controls),
};
