/* What packing and unpacking of control messages share. Internal to proto/. */
#ifndef CF_PROTO_CONTROL_KINDS_H
#define CF_PROTO_CONTROL_KINDS_H

/* The two bytes before a message: its kind, and this version of the messages. */
enum { CF_CONTROL_VERSION = 1, CF_CONTROL_PREFIX_BYTES = 2 };

/* Bounds that hold on both sides. */
enum { CF_CONTROL_MAX_NODES = 65536, CF_CONTROL_MAX_TEXT = 1 << 20 };

#endif
