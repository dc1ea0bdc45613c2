-- A database for each service that has tables: none of them reads another's.
CREATE DATABASE orders_api;
CREATE DATABASE order_processor;
CREATE DATABASE payments;
