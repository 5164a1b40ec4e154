import NormaMetrics
import Testing

@Suite struct ConfusionMatrixTests {
  private func matrix(_ classes: Int, _ truth: [UInt8], _ prediction: [UInt8]) -> ConfusionMatrix {
    var matrix = ConfusionMatrix(classes: classes)
    matrix.add(truth: truth, prediction: prediction)
    return matrix
  }

  @Test func scoresByHand() {
    //                             hit 0: 2, 0 as 1: 1, hit 1: 1, 1 as 2: 2, hit 2: 1, 2 as 0: 1
    let m = matrix(3, [0, 0, 0, 1, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2, 2, 0])
    #expect(m.counts == [2, 1, 0, 0, 1, 2, 1, 0, 1])
    #expect(m.total == 8)
    #expect(m.accuracy == 4.0 / 8)
    #expect((0..<3).map(m.intersectionOverUnion) == [0.5, 0.25, 0.25])
    let dice: [Double] = [4 / 6, 2 / 5, 2 / 5]
    #expect((0..<3).map(m.dice) == dice)
    #expect(m.constantAccuracy == 3.0 / 8)
    #expect(m.constantPrediction == nil)
  }

  @Test func addingGoesOn() {
    var m = matrix(2, [0, 1], [0, 0])
    m.add(truth: [1, 1, 0], prediction: [1, 1, 1])
    #expect(m == matrix(2, [0, 1, 1, 1, 0], [0, 0, 1, 1, 1]))
    #expect(m.counts == [1, 1, 1, 2])
    m.add(truth: [UInt8](), prediction: [])
    #expect(m.total == 5)
    m.add(matrix(2, [0, 1, 1], [0, 1, 0]))
    #expect(m.counts == [2, 1, 2, 3])
  }

  @Test func ignoredPixelsAreLeftOut() {
    let m = matrix(2, [0, 255, 1, 2], [0, 1, 0, 1])
    #expect(m.counts == [1, 0, 1, 0])
    #expect(m.accuracy == 0.5)
    #expect(m == matrix(2, [0, 1], [0, 0]))
  }

  @Test func classesThatDoNotOccur() {
    let m = matrix(3, [0, 0, 1], [0, 0, 0])
    #expect(m.dice(2) == 1 && m.intersectionOverUnion(2) == 1, "neither there nor predicted")
    #expect(m.dice(1) == 0 && m.intersectionOverUnion(1) == 0, "there and never predicted")
    let other = matrix(3, [0, 0], [0, 2])
    #expect(other.dice(2) == 0 && other.intersectionOverUnion(2) == 0, "predicted and not there")
  }

  @Test func collapse() {
    #expect(matrix(2, [0, 1, 1], [1, 1, 1]).constantPrediction == 1)
    #expect(matrix(3, [0, 1, 2], [0, 0, 0]).constantPrediction == 0)
    #expect(matrix(2, [0, 1, 1], [1, 0, 1]).constantPrediction == nil)
    #expect(matrix(2, [1, 1], [1, 1]).constantAccuracy == 1)
    // What is predicted where nothing counts does not count.
    #expect(matrix(2, [0, 1, 255], [1, 1, 0]).constantPrediction == 1)
  }

  @Test func nothingCounted() {
    let empty = ConfusionMatrix(classes: 2)
    #expect(empty.total == 0)
    #expect(empty.accuracy.isNaN && empty.constantAccuracy.isNaN)
    #expect(empty.constantPrediction == nil)
    #expect(empty.dice(0) == 1)
  }
}
