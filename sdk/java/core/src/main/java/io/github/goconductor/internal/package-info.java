/** Parts that the inbox and the outbox share. They are no part of the API. */
package io.github.goconductor.internal;
