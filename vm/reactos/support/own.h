/* What the support libraries share: how a routine of theirs is named.
 *
 * A library's routine X is the C function winvm_X: the system's header declares X itself as an import. */
#ifndef WINVM_SUPPORT_OWN_H
#define WINVM_SUPPORT_OWN_H

#define OWN(name) winvm_##name

#endif
