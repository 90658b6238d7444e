package io.github.goconductor.spring;

import io.github.goconductor.Client;
import io.github.goconductor.Interceptor;
import io.github.goconductor.Service;
import io.github.goconductor.TlsFiles;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.annotation.Bean;

/** Configures a {@link Client}, and serves each bean of the type {@link Service}. */
@AutoConfiguration
@EnableConfigurationProperties(GoConductorProperties.class)
public class GoConductorAutoConfiguration {
    /** Creates the configuration. */
    public GoConductorAutoConfiguration() {}

    /**
     * Returns the client. Beans of the type {@link Interceptor} wrap the actions, in their order.
     *
     * @param properties the properties
     * @param interceptors the interceptors
     * @param customizers further settings
     * @return the client
     */
    @Bean(destroyMethod = "close")
    @ConditionalOnMissingBean
    public Client goConductorClient(
            GoConductorProperties properties, ObjectProvider<Interceptor> interceptors,
            ObjectProvider<ClientCustomizer> customizers) {
        Client.Builder client = Client.builder(properties.server()).namespace(properties.namespace())
                .executors(properties.executors()).callTimeout(properties.callTimeout());
        if (properties.token() != null && !properties.token().isEmpty()) {
            client.token(properties.token());
        }
        if (properties.tls() != null) {
            client.tls(new TlsFiles(properties.tls().ca(), properties.tls().certificate(), properties.tls().key()));
        }
        interceptors.orderedStream().forEach(client::intercept);
        customizers.orderedStream().forEach(each -> each.customize(client));
        return client.build();
    }

    /**
     * Returns the workers of the services.
     *
     * @param client the client
     * @param services the services
     * @param properties the properties
     * @return the workers
     */
    @Bean
    @ConditionalOnMissingBean
    public Workers goConductorWorkers(
            Client client, ObjectProvider<Service> services, GoConductorProperties properties) {
        return new Workers(client, services.orderedStream().toList(), properties.drainTimeout());
    }
}
