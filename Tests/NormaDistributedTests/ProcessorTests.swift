import CTorch
import Testing

@testable import NormaDistributed

@Suite struct ProcessorTests {
  /// Two sockets of two cores of two threads, numbered as Linux often does: first one thread of every core.
  @Test func threadsOfACoreFollowOneAnother() {
    let ordered = Processors.ordered(Array(0..<8)) { [$0 % 2, $0 / 2 % 2] }
    #expect(ordered == [0, 4, 2, 6, 1, 5, 3, 7])
    #expect(Processors.ordered([3, 1, 2]) { _ in [] } == [1, 2, 3])
  }

  @Test(arguments: [(8, 2), (8, 3), (5, 5), (64, 7)])
  func sharesAreDisjointAndWhole(processors: Int, count: Int) throws {
    let shares = try (0..<count).map {
      Array(try #require(Processors.share(of: Array(0..<processors), $0, of: count)))
    }
    #expect(shares.flatMap { $0 } == Array(0..<processors))
    #expect(try #require(shares.map(\.count).max()) - #require(shares.map(\.count).min()) <= 1)
  }

  @Test func tooFewAreNotShared() {
    #expect(Processors.share(of: [0, 1], 0, of: 3) == nil)
    #expect(Processors.share(of: [], 0, of: 1) == nil)
  }

  @Test func anAbsentProcessorIsRefused() {
    #expect(ct_keep_to_processors([1 << 19], 1) == -1)
    #expect(ct_keep_to_processors([], 0) == -1)
  }

  #if os(Linux)
    @Test func thoseThatAreAllowedMayBeKeptTo() {
      let allowed = Processors.allowed.map(Int32.init)
      #expect(ct_keep_to_processors(allowed, Int32(allowed.count)) == 0)
    }

    @Test func theSystemTellsThem() {
      #expect(!Processors.allowed.isEmpty && Set(Processors.allowed).count == Processors.allowed.count)
    }
  #endif
}
