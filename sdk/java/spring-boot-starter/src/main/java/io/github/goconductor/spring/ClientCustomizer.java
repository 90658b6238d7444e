package io.github.goconductor.spring;

import io.github.goconductor.Client;

/** Sets further settings of the client. Beans of this type are called before the client is built. */
@FunctionalInterface
public interface ClientCustomizer {
    /**
     * Changes the settings.
     *
     * @param builder the settings
     */
    void customize(Client.Builder builder);
}
