/**
 * Configures GoConductor in applications of Spring Boot: a client of the properties {@code goconductor.*}, a worker for each
 * bean of the type {@link io.github.goconductor.Service}, and the inbox of Spring transactions.
 */
package io.github.goconductor.spring;
