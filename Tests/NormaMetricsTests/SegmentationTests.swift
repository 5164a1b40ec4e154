import NormaMetrics
import Testing

@Suite struct SegmentationTests {
  private func thinned(_ picture: Picture) -> Segmentation {
    var result = Segmentation(components: picture.cells, height: picture.height, width: picture.width)
    result.thinBorders()
    return result
  }

  @Test func componentsByHand() {
    // Diagonal neighbours do not connect.
    let picture = Picture(
      "..#.",
      "#.#.",
      ".#..")
    let result = Segmentation(components: picture.cells, height: 3, width: 4)
    #expect(result.count == 3)
    #expect(
      result.labels == [
        1, 1, 0, 2,
        0, 1, 0, 2,
        3, 0, 2, 2,
      ])
  }

  @Test func aUniformProposalIsOneSegment() {
    for cells in [true, false] {
      let picture = [Bool](repeating: cells, count: 6)
      let proposal = Segmentation(proposal: picture, height: 2, width: 3)
      #expect(proposal.count == 1)
      #expect(proposal.labels == [1, 1, 1, 1, 1, 1])
      var thinned = Segmentation(components: picture, height: 2, width: 3)
      thinned.thinBorders()
      #expect(thinned == proposal)
    }
    #expect(Segmentation(components: [false], height: 1, width: 1).count == 0)
    #expect(Segmentation(components: [true], height: 1, width: 1).labels == [1])
  }

  @Test func aPlateauIsSplitHalfway() throws {
    // One row: between two cells, an odd plateau has its middle as line, an even one one of the two middle pixels.
    for width in 1...9 {
      let row = Picture(height: 1, width: width + 2, cells: (0..<width + 2).map { $0 == 0 || $0 == width + 1 })
      let labels = thinned(row).labels
      let line = try #require(labels.firstIndex(of: 0))
      #expect(labels.filter { $0 == 0 }.count == 1)
      #expect(labels.prefix(line).allSatisfy { $0 == 1 } && labels.suffix(from: line + 1).allSatisfy { $0 == 2 })
      #expect(abs(line - (width + 2 - 1 - line)) <= 1, "\(labels)")
    }
    // The same for a wide border across a slice: a straight line.
    for width in 1...6 {
      let cells = (0..<5).flatMap { _ in (0..<width + 4).map { $0 < 2 || $0 >= width + 2 } }
      let labels = thinned(Picture(height: 5, width: width + 4, cells: cells)).labels
      let columns = Set(labels.indices.filter { labels[$0] == 0 }.map { $0 % (width + 4) })
      #expect(columns.count == 1 && labels.filter { $0 == 0 }.count == 5)
    }
  }

  @Test func aThinClosedBorderStays() {
    let ring = Picture(
      ".......",
      "...#...",
      "..#.#..",
      ".#...#.",
      "..#.#..",
      "...#...",
      ".......")
    let closed = thinned(ring)
    #expect(closed.count == 2)
    #expect(closed == Segmentation(components: ring.cells, height: 7, width: 7))

    let across = Picture(
      "...#..",
      "###...",
      "......")
    #expect(thinned(across) == Segmentation(components: across.cells, height: 3, width: 6))
  }

  @Test func aThickBorderBecomesThinAndAnOpenOneGoes() {
    let thick = Picture(
      ".###.",
      ".###.",
      ".###.")
    #expect(thinned(thick).labels == [1, 1, 0, 2, 2, 1, 1, 0, 2, 2, 1, 1, 0, 2, 2])
    // A border that ends inside a cell separates nothing.
    let open = Picture(
      "..#..",
      "..#..",
      ".....")
    #expect(thinned(open).labels.allSatisfy { $0 == 1 })
  }

  @Test func propertiesOnRandomSlices() {
    var generator = SplitMix(state: 1)
    for round in 0..<120 {
      let (height, width) = (Int.random(in: 1...14, using: &generator), Int.random(in: 1...14, using: &generator))
      let membrane = [0.2, 0.5, 0.8, 0.95][round % 4]
      let picture = Picture.random(height: height, width: width, membrane: membrane, using: &generator)
      let components = Segmentation(components: picture.cells, height: height, width: width)
      let reference = picture.components(of: true)
      #expect(components.count == Set(reference).subtracting([0]).count)
      // The same partition, under other numbers.
      #expect(Set(zip(components.labels, reference).map { [$0, $1] }).count == Set(reference).count)
      if components.count == 0 { continue }

      let result = thinned(picture)
      let labels = result.labels
      #expect(result.count == components.count)
      #expect(labels.allSatisfy { (0...Int32(result.count)).contains($0) })
      for pixel in labels.indices where picture.cells[pixel] {
        #expect(labels[pixel] == components.labels[pixel], "cells keep their label")
      }
      for pixel in labels.indices where labels[pixel] > 0 {
        for neighbour in picture.neighbours4(pixel) {
          #expect(labels[neighbour] == labels[pixel] || labels[neighbour] == 0, "lines separate")
        }
      }
      for basin in 1...Int32(result.count) {
        let all = Picture(height: height, width: width, cells: labels.map { $0 == basin })
        #expect(all.componentCount(of: true) == 1, "a basin hangs together")
        let cells = Picture(
          height: height, width: width, cells: labels.indices.map { labels[$0] == basin && picture.cells[$0] })
        #expect(cells.componentCount(of: true) == 1, "and holds one component of cells")
      }
      // Basins grow at equal speed: a pixel belongs to one of the nearest, through membrane.
      let distances = (1...Int32(result.count)).map { distance(from: $0, components.labels, picture) }
      for pixel in labels.indices {
        let nearest = distances.map { $0[pixel] }.min()!
        if labels[pixel] > 0 { #expect(distances[Int(labels[pixel]) - 1][pixel] == nearest) }
        if labels[pixel] == 0 { #expect(result.count > 1, "lines lie between basins") }
      }
    }
  }

  /// Steps from a component to every pixel without entering other components.
  private func distance(from component: Int32, _ components: [Int32], _ picture: Picture) -> [Int] {
    var distances = components.map { $0 == component ? 0 : Int.max }
    var front = components.indices.filter { components[$0] == component }
    var steps = 0
    while !front.isEmpty {
      steps += 1
      var next: [Int] = []
      for pixel in front {
        for neighbour in picture.neighbours4(pixel) where components[neighbour] == 0 && distances[neighbour] > steps {
          distances[neighbour] = steps
          next.append(neighbour)
        }
      }
      front = next
    }
    return distances
  }
}
