package io.github.goconductor.spring;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import org.springframework.boot.context.properties.ConfigurationProperties;
import org.springframework.boot.context.properties.bind.DefaultValue;

/**
 * The properties {@code goconductor.*}.
 *
 * @param server the URL of the gateway
 * @param namespace the namespace
 * @param token an access key, or a token of the identity provider
 * @param executors the executors that workers connect to; empty for those that the gateway lists
 * @param tls the files of TLS
 * @param callTimeout the limit of calls
 * @param drainTimeout how long a shutdown waits for tasks in flight
 * @param inbox the settings of the inbox
 */
@ConfigurationProperties("goconductor")
public record GoConductorProperties(
        @DefaultValue("http://127.0.0.1:8470") String server,
        @DefaultValue("default") String namespace,
        String token,
        @DefaultValue List<String> executors,
        Tls tls,
        @DefaultValue("30s") Duration callTimeout,
        @DefaultValue("30s") Duration drainTimeout,
        @DefaultValue Inbox inbox) {

    /**
     * The properties {@code goconductor.tls.*}, files in PEM form.
     *
     * @param ca the authorities
     * @param certificate the certificate of this program
     * @param key its private key
     */
    public record Tls(Path ca, Path certificate, Path key) {}

    /**
     * The properties {@code goconductor.inbox.*}.
     *
     * @param enabled whether the application has an inbox; set false for a database that the inbox does not support
     * @param migrate whether the start creates the missing objects of the inbox
     */
    public record Inbox(@DefaultValue("true") boolean enabled, @DefaultValue("true") boolean migrate) {}
}
