// Package pollset waits for any of many sockets to be readable, without a
// goroutine or a thread for each: an epoll instance that the runtime's own
// poller waits for (epoll(7)).
//
// Opening, reading and closing the sockets is left to the caller; one that is
// closed is in the set no more.
//
// No privileges. All methods may be called at once from several goroutines;
// Close frees a blocked Wait.
package pollset
