package io.github.goconductor.spring;

import io.github.goconductor.inbox.Inbox;
import java.sql.SQLException;
import javax.sql.DataSource;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.boot.autoconfigure.condition.ConditionalOnSingleCandidate;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.annotation.Bean;
import org.springframework.jdbc.datasource.DataSourceUtils;
import org.springframework.transaction.PlatformTransactionManager;
import org.springframework.transaction.support.TransactionTemplate;

/** Configures the inbox in the database of the application. */
@AutoConfiguration(afterName = {
    // The names of Spring Boot 4, and those of Spring Boot 3.
    "org.springframework.boot.jdbc.autoconfigure.DataSourceAutoConfiguration",
    "org.springframework.boot.jdbc.autoconfigure.DataSourceTransactionManagerAutoConfiguration",
    "org.springframework.boot.autoconfigure.jdbc.DataSourceAutoConfiguration",
    "org.springframework.boot.autoconfigure.jdbc.DataSourceTransactionManagerAutoConfiguration",
    "org.springframework.boot.hibernate.autoconfigure.HibernateJpaAutoConfiguration",
    "org.springframework.boot.autoconfigure.orm.jpa.HibernateJpaAutoConfiguration"})
@ConditionalOnClass(DataSourceUtils.class)
@ConditionalOnProperty(prefix = "goconductor.inbox", name = "enabled", matchIfMissing = true)
@ConditionalOnSingleCandidate(DataSource.class)
@ConditionalOnBean(PlatformTransactionManager.class)
@EnableConfigurationProperties(GoConductorProperties.class)
public class GoConductorInboxAutoConfiguration {
    /** Creates the configuration. */
    public GoConductorInboxAutoConfiguration() {}

    /**
     * Returns the inbox, for transactions of its own.
     *
     * @param source the data source of the application
     * @param properties the properties
     * @return the inbox
     * @throws SQLException if the database is not supported or cannot be reached
     */
    @Bean
    @ConditionalOnMissingBean
    public Inbox goConductorInbox(DataSource source, GoConductorProperties properties) throws SQLException {
        Inbox inbox = Inbox.of(source);
        if (properties.inbox().migrate()) {
            inbox.migrate();
        }
        return inbox;
    }

    /**
     * Returns the inbox of Spring transactions. An application with several transaction managers and no primary one defines
     * it itself.
     *
     * @param inbox the inbox
     * @param source the data source of the application
     * @param manager the transaction manager of the data source
     * @return the inbox
     */
    @Bean
    @ConditionalOnMissingBean
    @ConditionalOnSingleCandidate(PlatformTransactionManager.class)
    public TransactionalInbox goConductorTransactionalInbox(
            Inbox inbox, DataSource source, PlatformTransactionManager manager) {
        return new TransactionalInbox(inbox, source, new TransactionTemplate(manager));
    }
}
