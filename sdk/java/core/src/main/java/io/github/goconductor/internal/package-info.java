/** Parts that the inbox and the outbox share. They are not part of the API. */
package io.github.goconductor.internal;
