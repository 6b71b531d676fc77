mod chunked;
mod request;
mod response;
